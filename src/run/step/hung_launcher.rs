//! Detects a launcher that does not notice that all its processes have ended.
//!
//! Hydra's mpiexec sometimes does not notice this. Then it reads its standard input for ever, and only SIGKILL ends it.
//! With MPICH 5.0 this happens in about one of seven jobs that SIGTERM ends, and in about one of a hundred jobs in
//! which a process is killed. It happens without pyshm too.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Time between two looks at a launcher.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// Number of consecutive looks that must find all processes dead, since the launcher may be about to notice.
const LOOKS: u32 = 3;

/// Detects that a launcher hangs: all its children are dead at several looks.
#[derive(Debug, Default)]
pub struct HangDetector {
    /// Number of consecutive looks that found all children dead.
    dead: u32,
}

impl HangDetector {
    /// Looks at the process `launcher`, once each [`INTERVAL`]; returns whether it hangs.
    pub fn look(&mut self, launcher: u32) -> bool {
        let children = children(launcher).unwrap_or_default();
        let dead = !children.is_empty() && children.into_iter().all(is_dead);
        self.dead = if dead { self.dead + 1 } else { 0 };
        self.dead >= LOOKS
    }

    /// Forgets the looks so far, because the launcher has shown that it lives.
    pub fn reset(&mut self) {
        self.dead = 0;
    }
}

/// Lists the children of a process; `None` if the kernel does not list them.
fn children(process: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
        let list = std::fs::read_to_string(thread.path().join("children")).ok()?;
        all.extend(list.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Some(all)
}

/// Whether a process is a zombie: it has ended and its parent has not waited for it.
fn is_dead(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which may contain anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_hangs_only_if_all_its_children_stay_dead() {
        for (script, expected) in [
            // Nobody waits for the `true` in the background.
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
            let mut detector = HangDetector::default();
            let looks: Vec<bool> = (0..LOOKS).map(|_| detector.look(child.id())).collect();
            assert_eq!(looks, [false, false, expected], "{script}");
            detector.reset();
            assert!(!detector.look(child.id()));
            for pid in children(child.id()).unwrap() {
                let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
