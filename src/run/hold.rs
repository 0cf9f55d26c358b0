//! Use of a published stage: as long as it lasts nobody removes the stage, and who is the last to let go does.
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;

use pyshm_format::layout;
use rustix::fs::{FlockOperation, flock};

use crate::error::Result;
use crate::stage::{Lease, Place, Stage};

/// A stage in use.
#[derive(Debug)]
pub struct Hold {
    stage: Stage,
    place: Place,
    lease: Lease,
    keep: bool,
}

impl Hold {
    /// Begins to use `stage`; with `keep` it stays when the last user lets go.
    ///
    /// # Errors
    /// As [`Stage::lease`].
    pub fn take(place: &Place, stage: &Stage, keep: bool) -> Result<Self> {
        let lease = stage.lease()?;
        // A stage that was just built brings a lease of its own; found again, it has none.
        let stage = Stage::find(place, &stage.id).unwrap_or_else(|| stage.clone());
        Ok(Self { stage, place: place.clone(), lease, keep })
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Lets go; the last one removes the stage. Returns whether it is gone, with the numbers of operations that were
    /// answered locally and passed.
    pub fn release(self) -> Released {
        let (answered, passed) = self.stage.counters();
        drop(self.lease);
        let alone = lock_alone(&self.stage.dir);
        let purged = match (self.keep, alone) {
            (false, Some(_alone)) => self.stage.purge().is_ok(),
            _ => false,
        };
        if purged {
            self.place.tidy();
        }
        Released { purged, answered, passed }
    }
}

/// What was found when a stage was let go.
#[derive(Debug, Clone, Copy)]
pub struct Released {
    /// This was the last user, and the stage is gone.
    pub purged: bool,
    /// Operations that were answered locally.
    pub answered: u64,
    /// Operations below a prefix that went to the shared file system.
    pub passed: u64,
}

/// The lease's lock, if nobody else holds it; while it lives nobody begins to use the stage.
fn lock_alone(dir: &Path) -> Option<File> {
    let file = File::open(dir.join(layout::LEASE)).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}
