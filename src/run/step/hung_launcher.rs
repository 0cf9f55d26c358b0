//! A launcher that does not notice that all its processes ended: Hydra's mpiexec then reads its standard input for ever
//! (MPICH 5.0: once in some seven jobs that SIGTERM ended, in some hundred in which a process was killed; without pyshm
//! just so). It can be of no use to anybody then, and only SIGKILL ends it.
#![forbid(unsafe_code)]

/// How often in turn its processes must all be found dead, looks being [`crate::run::step::LOOK`] apart: it may be about to notice.
const LOOKS: u32 = 3;

/// What the last looks at a launcher have shown.
#[derive(Debug, Default)]
pub struct Deserted {
    dead: u32,
}

impl Deserted {
    /// Looks once more; whether the launcher is to be given up.
    pub fn look(&mut self, launcher: u32) -> bool {
        let children = children(launcher).unwrap_or_default();
        let dead = !children.is_empty() && children.into_iter().all(is_dead);
        self.dead = if dead { self.dead + 1 } else { 0 };
        self.dead >= LOOKS
    }

    /// It has shown that it lives.
    pub fn forget(&mut self) {
        self.dead = 0;
    }
}

/// The children of a process; `None` where the kernel does not list them.
fn children(process: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
        let list = std::fs::read_to_string(thread.path().join("children")).ok()?;
        all.extend(list.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Some(all)
}

/// Whether a process has ended and waits for its parent to take notice.
fn is_dead(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_process_all_of_whose_children_stay_dead_is_deserted() {
        for (script, expected) in [
            // What `true` leaves nobody waits for.
            ("true & exec sleep 100", true),
            ("true & sleep 100 & exec sleep 101", false),
            ("exec sleep 101", false),
        ] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            while std::fs::read(format!("/proc/{}/comm", child.id())).unwrap() != b"sleep\n"
                || children(child.id()).unwrap().len() != script.matches('&').count()
                || script.starts_with("true")
                    && !children(child.id()).unwrap().into_iter().any(is_dead)
            {
                std::thread::yield_now();
            }
            let mut deserted = Deserted::default();
            let looks: Vec<bool> = (0..LOOKS).map(|_| deserted.look(child.id())).collect();
            assert_eq!(looks, [false, false, expected], "{script}");
            deserted.forget();
            assert!(!deserted.look(child.id()));
            for pid in children(child.id()).unwrap() {
                let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
