//! Checks with loom every interleaving of processes that set and read marks. `tests/checks/diverged-model.sh` builds
//! and runs this model.
//!
//! A process sets a mark, then changes the original. In the model the change is a flag that is stored with release and
//! loaded with acquire. The flag stands for a guarantee of the kernel: a process that sees the change also sees
//! everything that was written before the change.

extern crate std;
use std::vec::Vec;

use loom::sync::Arc;
use loom::thread;

use super::*;

/// A set with few slots, so that loom can visit all its states.
struct Table {
    count: AtomicU64,
    subtrees: AtomicU64,
    full: AtomicU64,
    set: [AtomicU64; 4],
    /// For each writer, 1 after its change.
    changed: [AtomicU64; 3],
}

impl Table {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        Arc::new(Self {
            count: word(),
            subtrees: word(),
            full: word(),
            set: [word(), word(), word(), word()],
            changed: [word(), word(), word()],
        })
    }

    fn set(&self) -> Diverged<'_> {
        let Self { count, subtrees, full, set, .. } = self;
        Diverged { count, subtrees, full, counters: &[], set }
    }

    /// Sets a mark, then makes the change.
    fn write(&self, writer: usize, mark: Mark, hash: u64) {
        self.set().mark(mark, hash);
        self.changed[writer].store(1, Ordering::Release);
    }

    fn has_changed(&self, writer: usize) -> bool {
        self.changed[writer].load(Ordering::Acquire) == 1
    }
}

/// Hashes whose marks are all searched from the last slot on.
fn colliding(mark: Mark) -> impl Iterator<Item = u64> {
    (1..).map(|n| n * 0x1234_5678_9abc).filter(move |h| Mark::slot(mark.word(*h), 4) == 3)
}

/// Runs two writers and a reader that looks for both changes. The model chooses the order.
fn two_writers(mark: Mark, hashes: [u64; 2], subtree: bool) {
    loom::model(move || {
        let table = Table::new();
        let writers: Vec<_> = hashes
            .into_iter()
            .enumerate()
            .map(|(writer, hash)| {
                let table = table.clone();
                thread::spawn(move || table.write(writer, mark, hash))
            })
            .collect();
        for (writer, hash) in hashes.into_iter().enumerate() {
            if table.has_changed(writer) {
                assert!(table.set().any() && table.set().has(mark, hash));
                assert!(!subtree || table.set().any_subtree());
            }
        }
        writers.into_iter().for_each(|w| w.join().unwrap());
        assert!(hashes.iter().all(|h| table.set().has(mark, *h)));
    });
}

#[test]
fn loom_a_change_is_never_seen_without_its_mark() {
    let mut hashes = colliding(Mark::Path);
    two_writers(Mark::Path, [hashes.next().unwrap(), hashes.next().unwrap()], false);
}

#[test]
fn loom_a_change_by_either_writer_is_never_seen_without_their_common_mark() {
    let hash = colliding(Mark::Path).next().unwrap();
    two_writers(Mark::Path, [hash, hash], false);
}

#[test]
fn loom_a_subtree_mark_is_counted_before_its_change_is_seen() {
    let hash = colliding(Mark::Subtree).next().unwrap();
    two_writers(Mark::Subtree, [hash, hash], true);
}

#[test]
fn loom_a_set_that_fills_up_loses_no_mark() {
    let hashes: Vec<u64> = colliding(Mark::Subtree).take(5).collect();
    let mut model = loom::model::Builder::new();
    // All interleavings of three writers would take hours, and bugs show with few switches of threads.
    model.preemption_bound = Some(2);
    model.check(move || {
        let table = Table::new();
        table.set().mark(Mark::Path, hashes[3]);
        table.set().mark(Mark::Path, hashes[4]);
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (table, hash) = (table.clone(), hashes[writer]);
                thread::spawn(move || table.write(writer, Mark::Subtree, hash))
            })
            .collect();
        table.write(2, Mark::Subtree, hashes[2]);
        for (writer, hash) in hashes.iter().enumerate().take(3) {
            if table.has_changed(writer) {
                assert!(table.set().has(Mark::Subtree, *hash) && table.set().any_subtree());
            }
        }
        writers.into_iter().for_each(|w| w.join().unwrap());
        assert!(hashes[..3].iter().all(|h| table.set().has(Mark::Subtree, *h)));
        assert!(table.set().any_subtree());
    });
}
