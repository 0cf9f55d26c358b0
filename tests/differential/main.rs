//! The differential machine: runs random programs of file operations bare in one tree and redirected in a twin of it.
//!
//! After every step the machine compares three things: the step's answer (result, errno, data, attributes, listings,
//! names), both trees, and the stage's own files. If the two runs of a program differ, the machine shortens and prints
//! the program. README.md says how to use the machine.
//!
//! ```text
//! program, tree      the text of a program, the tree before its first step, and the tree that it leaves
//! steps/, twins      perform the steps, bare and redirected, and compare
//! generate, state    choose the next step from the state of the bare run
//! kinds              the situations that are known to differ, which no random program may contain
//! shorten            makes a program that differs short
//! ```

mod generate;
mod kinds;
mod names;
mod program;
mod random;
mod shorten;
mod state;
mod tree;
mod twins;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use generate::{Generator, World};
use kinds::{Kinds, Now};
use program::{Program, User};
use state::State;
use twins::{Difference, Ground, Twins};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/programs");

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("PYSHM_DIFFERENTIAL_{name}")).ok()
}

fn number(name: &str) -> Option<u64> {
    setting(name)?.parse().ok()
}

fn users() -> &'static [User] {
    if twins::is_root() { &[User::Root, User::Ordinary] } else { &[User::Ordinary] }
}

/// Prints a line that appears even if the test passes: the test harness captures only `print!` and `eprint!`.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The numbers that a run of many programs counts.
#[derive(Default)]
struct Totals {
    seeds: AtomicU64,
    programs: AtomicU64,
    steps: AtomicU64,
    refused: AtomicU64,
    answered: AtomicU64,
    passed: AtomicU64,
}

impl Totals {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [seeds, programs, steps, refused, answered, passed] =
            [&self.seeds, &self.programs, &self.steps, &self.refused, &self.answered, &self.passed]
                .map(|counter| counter.load(Ordering::Relaxed));
        write!(
            f,
            "{seeds} seeds, {programs} programs ({refused} trees refused), {steps} steps; the stage answered {answered} \
             operations and passed {passed}"
        )
    }
}

/// Makes the program of a seed step by step and runs each step. Returns the program and the difference if the two runs
/// differ, else `None`.
fn random_program(
    ground: &Ground,
    (seed, user): (u64, User),
    kinds: &Kinds,
    totals: &Totals,
) -> Option<(Program, Difference)> {
    let show = setting("SHOW").is_some();
    let (mut generator, mut program) = Generator::new(seed, user, kinds);
    program.notes.push(format!("seed {seed}"));
    let mut twins = match Twins::begin(ground, &program) {
        Ok(twins) => twins,
        Err(error) => {
            Totals::add(&totals.refused, 1);
            if show {
                say(&format!("seed {seed}: {error}"));
            }
            return None;
        }
    };
    let root = twins.root().to_path_buf();
    let (mut world, mut seen) = (World::see(&root), twins.remains.clone());
    generator.begin(&world);
    let length = 20 + generator.random.below(130);
    let mut opening: Vec<String> =
        (1..=generator.peers()).rev().map(|n| format!("peer {n}")).collect();
    let mut speaker = 0;
    // The states of processes that wait for a child or thread to end, and the inodes that are mapped.
    let (mut parents, mut mapped) = (Vec::new(), Vec::new());
    let said_to = |n: usize| if n == 0 { String::new() } else { format!("{n} ") };
    while program.steps.len() < length {
        if twins.remains != seen {
            generator.remember(&world);
            world = World::see(&root);
            seen.clone_from(&twins.remains);
        }
        let step = if let Some(step) = opening.pop() {
            step
        } else {
            if !generator.in_block() && generator.peers() > 0 && generator.random.percent(40) {
                speaker = generator.random.below(generator.peers() + 1);
            }
            let step = if let Some(end) = generator.end_of_block() {
                parents.pop();
                end
            } else {
                let mut states: Vec<_> = (0..=generator.peers())
                    .map(|n| State::parse(&twins.ask_bare(&format!("{}?", said_to(n)))))
                    .collect();
                let state = states.remove(speaker);
                states.extend(parents.iter().cloned());
                let step = generator.step(&world, &state);
                let now = Now { root: &root, state: &state, others: &states, mapped: &mapped };
                if !kinds.allow_step(&now, &step) {
                    generator.forget_block(&step);
                    continue;
                }
                if let ["map", _, slot, ..] = step.split(' ').collect::<Vec<_>>()[..] {
                    mapped.extend(now.slot(slot).map(|slot| slot.ino));
                }
                if matches!(step.as_str(), "fork" | "thread" | "static") {
                    parents.push(state);
                }
                step
            };
            format!("{}{step}", said_to(speaker))
        };
        program.steps.push(step.clone());
        Totals::add(&totals.steps, 1);
        match twins.step(&step) {
            Ok(Some(answer)) if show => say(&format!("{step}\n    {answer}")),
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(difference) => return Some((program, *difference)),
        }
    }
    let (answered, passed) = twins.counted();
    Totals::add(&totals.answered, answered);
    Totals::add(&totals.passed, passed);
    None
}

fn describe(program: &Program, difference: &Difference) -> String {
    let step = &program.steps[difference.step];
    let (what, n) = (difference.what, difference.step + 1);
    let (bare, twin) = (&difference.bare, &difference.twin);
    format!("{program}# {what:?} of step {n}: {step}\n# bare: {bare}\n# twin: {twin}\n")
}

/// The number of seeds that run by default, each as root and as an ordinary user. They take about a minute.
const SEEDS: u64 = 200;

#[test]
fn random_programs_do_what_they_do_bare() {
    // By default the number of seeds is fixed and not the time, because the choice of programs must not depend on the
    // processor's speed.
    let seconds = number("SECONDS").map(Duration::from_secs);
    let first = number("FROM").unwrap_or(1);
    let last = if seconds.is_some() { u64::MAX } else { first + SEEDS - 1 };
    let (only, collect) = (number("SEED"), setting("COLLECT"));
    let (kinds, totals, begun) = (Kinds::chosen(), Totals::default(), Instant::now());
    let next = AtomicU64::new(only.unwrap_or(first));
    let failures = Mutex::new(Vec::new());
    let work = || {
        let ground = Ground::new();
        while seconds.is_none_or(|seconds| begun.elapsed() < seconds)
            && (collect.is_some() || failures.lock().unwrap().is_empty())
        {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if only.is_some_and(|only| seed != only) || (only.is_none() && seed > last) {
                break;
            }
            Totals::add(&totals.seeds, 1);
            for user in users() {
                Totals::add(&totals.programs, 1);
                let met = random_program(&ground, (seed, *user), &kinds, &totals);
                let Some((mut program, mut difference)) = met else { continue };
                if setting("LONG").is_none() {
                    (program, difference) = shorten::shorten(&ground, &program, &difference);
                }
                let text = describe(&program, &difference);
                if let Some(dir) = &collect {
                    let verb = shorten::verb_of(&program.steps[difference.step]);
                    let name = format!("{:?}-{verb}-{}-{seed}.txt", difference.what, user.name());
                    fs::write(Path::new(dir).join(name), &text).unwrap();
                }
                failures.lock().unwrap().push(text);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..number("WORKERS").unwrap_or(2) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    say(&format!("differential machine: {totals}; {} programs differ", failures.len()));
    assert!(failures.is_empty(), "the first of {}:\n{}", failures.len(), failures[0]);
}

/// The files in `programs/`, or the one file that the environment names.
fn kept() -> Vec<PathBuf> {
    if let Some(one) = setting("PROGRAM") {
        return vec![one.into()];
    }
    let mut files: Vec<_> = fs::read_dir(PROGRAMS).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn programs_that_once_differed_are_the_same_now() {
    let kinds = Kinds::chosen();
    let ground = Ground::new();
    let (mut failures, mut mended, mut left_out) = (Vec::new(), Vec::new(), 0);
    for file in kept() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let program = Program::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let known = program.kind.as_deref().is_some_and(|kind| kinds.is_name_off(kind).unwrap());
        let mut differs = false;
        for user in users().iter().filter(|user| program.user.is_none_or(|only| only == **user)) {
            let program = Program { user: Some(*user), ..program.clone() };
            let met =
                twins::run(&ground, &program).unwrap_or_else(|error| panic!("{name}: {error}"));
            let Some(difference) = met else { continue };
            differs = true;
            if !known {
                failures.push(format!("{name}:\n{}", describe(&program, &difference)));
            }
        }
        if known && differs {
            left_out += 1;
        } else if known {
            mended.push(name);
        }
    }
    if left_out > 0 {
        say(&format!(
            "differential machine: {left_out} kept programs still differ, and their kinds are off"
        ));
    }
    if !mended.is_empty() {
        say(&format!(
            "kept programs that no longer differ, so turn their kinds on: {}",
            mended.join(" ")
        ));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
