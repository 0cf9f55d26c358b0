//! Use of a published stage: as long as it lasts nobody removes the stage, and who is the last to let go does.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::stage::{Lease, Place, Stage};

/// A stage in use.
#[derive(Debug)]
pub struct Hold {
    stage: Stage,
    place: Place,
    lease: Lease,
    keep: bool,
    /// The counters when this use began.
    before: (u64, u64),
}

impl Hold {
    /// Begins to use `stage`; with `keep`, or where someone asked for that before, it stays when the last user lets go.
    ///
    /// # Errors
    /// As [`Stage::lease`].
    pub fn take(place: &Place, stage: &Stage, keep: bool) -> Result<Self> {
        let lease = stage.lease()?;
        // A stage that was just built brings a lease of its own; found again, it has none.
        let gone = || Error::TryAgain(format!("the stage {stage} is gone: try again"));
        let stage = Stage::find(place, &stage.id)?.ok_or_else(gone)?;
        if keep {
            stage.keep()?;
        }
        let keep = keep || stage.info().is_ok_and(|info| info.keep);
        let before = stage.counters();
        Ok(Self { stage, place: place.clone(), lease, keep, before })
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
        let (answered, passed) =
            (answered.saturating_sub(self.before.0), passed.saturating_sub(self.before.1));
        drop(self.lease);
        let alone = Lease::exclusive(&self.stage.dir);
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
