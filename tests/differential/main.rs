//! The differential machine: random programs of file operations run bare in one tree and redirected in its twin.

mod generate;
mod kinds;
mod names;
mod program;
mod random;
mod shorten;
mod state;
mod tree;
mod twins;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use generate::{Generator, World};
use kinds::Kinds;
use program::{Program, User};
use state::State;
use twins::{Difference, Ground, Twins};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What a run came to.
#[derive(Default)]
struct Totals {
    programs: AtomicU64,
    steps: AtomicU64,
    answered: AtomicU64,
    passed: AtomicU64,
    refused: AtomicU64,
}

/// Makes a program of a seed while it runs. The difference that it met, if it met one.
fn random_program(
    ground: &Ground,
    seed: u64,
    user: User,
    totals: &Totals,
) -> Option<(Program, Difference)> {
    let (mut generator, mut program) = Generator::new(seed, user, Kinds { all: true });
    program.notes.push(format!("seed {seed}"));
    let mut twins = match Twins::begin(ground, &program) {
        Ok(twins) => twins,
        Err(error) => {
            totals.refused.fetch_add(1, Ordering::Relaxed);
            if std::env::var_os("PYSHM_DIFFERENTIAL_SHOW").is_some() {
                eprintln!("seed {seed}: {error}");
            }
            return None;
        }
    };
    let world = World::see(twins.root());
    generator.focus(&world);
    generator.remember(&world);
    let length = 20 + generator.random.below(130);
    let mut opening: Vec<String> = (1..=generator.peers()).map(|n| format!("peer {n}")).collect();
    opening.reverse();
    let mut speaker = String::new();
    while program.steps.len() < length {
        let world = World::see(twins.root());
        let step = if let Some(step) = opening.pop() {
            step
        } else {
            if !generator.in_block() && generator.peers() > 0 && generator.random.percent(40) {
                let n = generator.random.below(generator.peers() + 1);
                speaker = if n == 0 { String::new() } else { format!("{n} ") };
            }
            let step = match generator.end_of_block() {
                Some(end) => end,
                None => {
                    let state = State::parse(&twins.ask_bare(&format!("{speaker}?")));
                    let step = generator.step(&world, &state);
                    if !generator.allows(&world, &state, &step) {
                        continue;
                    }
                    step
                }
            };
            format!("{speaker}{step}")
        };
        program.steps.push(step.clone());
        totals.steps.fetch_add(1, Ordering::Relaxed);
        match twins.step(&step) {
            Ok(Some(answer)) => {
                if std::env::var_os("PYSHM_DIFFERENTIAL_SHOW").is_some() {
                    eprintln!("{step}\n    {answer}");
                }
                generator.remember(&world);
            }
            Ok(None) => break,
            Err(difference) => return Some((program, *difference)),
        }
    }
    let (answered, passed) = twins.counted();
    totals.answered.fetch_add(answered, Ordering::Relaxed);
    totals.passed.fetch_add(passed, Ordering::Relaxed);
    totals.programs.fetch_add(1, Ordering::Relaxed);
    None
}

fn describe(program: &Program, difference: &Difference) -> String {
    let step = &program.steps[difference.step];
    format!(
        "{program}\n{:?} of step {}: {step}\n  bare: {}\n  twin: {}\n",
        difference.what,
        difference.step + 1,
        difference.bare,
        difference.twin
    )
}

#[test]
fn random_programs_do_what_they_do_bare() {
    let seconds = Duration::from_secs(number("PYSHM_DIFFERENTIAL_SECONDS").unwrap_or(60));
    let only = number("PYSHM_DIFFERENTIAL_SEED");
    let collect = std::env::var_os("PYSHM_DIFFERENTIAL_COLLECT");
    let workers = number("PYSHM_DIFFERENTIAL_WORKERS").unwrap_or(2);
    let users: &[User] =
        if twins::is_root() { &[User::Root, User::Ordinary] } else { &[User::Ordinary] };
    let (totals, begun) = (Totals::default(), Instant::now());
    let next = AtomicU64::new(only.unwrap_or_else(|| number("PYSHM_DIFFERENTIAL_FROM").unwrap_or(1)));
    let failures = Mutex::new(HashMap::<String, String>::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let ground = Ground::new();
                while begun.elapsed() < seconds
                    && (collect.is_some() || failures.lock().unwrap().is_empty())
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if only.is_some_and(|only| seed != only) {
                        break;
                    }
                    for user in users {
                        let Some((program, difference)) =
                            random_program(&ground, seed, *user, &totals)
                        else {
                            continue;
                        };
                        let key = format!(
                            "{:?} {}",
                            difference.what,
                            shorten::verb_of(&program.steps[difference.step])
                        );
                        let (program, difference) = if std::env::var_os("PYSHM_DIFFERENTIAL_LONG").is_some() { (program, difference) } else {
                            shorten::shorten(&ground, &program, &difference) };
                        let text = describe(&program, &difference);
                        let mut failures = failures.lock().unwrap();
                        let key = format!("{key} {} {seed}", user.name());
                        if let Some(dir) = &collect {
                            let name = format!("{}.txt", key.replace(' ', "-"));
                            fs::write(Path::new(dir).join(name), &text).unwrap();
                        }
                        failures.insert(key, text);
                    }
                }
            });
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let _ = writeln!(
        std::io::stderr(),
        "{} programs without a difference, {} with one, {} refused; {} steps; {} operations answered, {} passed",
        count(&totals.programs),
        failures.lock().unwrap().len(),
        count(&totals.refused),
        count(&totals.steps),
        count(&totals.answered),
        count(&totals.passed)
    );
    let failures = failures.into_inner().unwrap();
    if let Some((_, text)) = failures.iter().next() {
        panic!("{text}");
    }
}
