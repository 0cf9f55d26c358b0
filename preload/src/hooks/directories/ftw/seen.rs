//! Remembers the directories that a walk has visited, if the walk follows symbolic links.
#![forbid(unsafe_code)]

use core::mem;

use crate::libc_calls::heap::Array;

/// The value of a free slot. No directory has inode 0 on device 0.
const FREE: (u64, u64) = (0, 0);

/// A set of directories by device and inode, with open addressing.
pub struct Seen {
    slots: Array<(u64, u64)>,
    used: usize,
}

impl Seen {
    /// An empty set.
    pub const fn new() -> Self {
        Self { slots: Array::new(), used: 0 }
    }

    /// Adds a directory. Returns whether it is new; `None` without memory.
    pub fn add(&mut self, st: &libc::stat) -> Option<bool> {
        if self.used * 2 >= self.slots.len() {
            let mut old = mem::replace(&mut self.slots, Array::new());
            for _ in 0..(old.len() * 2).max(64) {
                self.slots.push(FREE)?;
            }
            while let Some(slot) = old.pop() {
                if slot != FREE {
                    self.put(slot);
                }
            }
        }
        let new = self.put((st.st_dev, st.st_ino));
        self.used += usize::from(new);
        Some(new)
    }

    /// Adds a directory to the slots. Returns whether it is new.
    fn put(&mut self, object: (u64, u64)) -> bool {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at =
            (object.1 ^ object.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        // Half of the slots are free, so the search ends.
        while let Some(slot) = self.slots.all_mut().get_mut(at as usize & mask) {
            if *slot == object {
                return false;
            }
            if *slot == FREE {
                *slot = object;
                return true;
            }
            at = at.wrapping_add(1);
        }
        false
    }
}
