//! Records that a process uses a published stage. Nobody removes the stage while a process holds it; the last process
//! to release its hold removes the stage.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::stage::build_options::AfterUse;
use crate::stage::lease::Lease;
use crate::stage::published::Stage;
use crate::stage::user_dir::UserDir;

/// A stage in use.
#[derive(Debug)]
pub struct Hold {
    stage: Stage,
    user_dir: UserDir,
    lease: Lease,
    after_use: AfterUse,
    /// The stage's counters when this use began.
    before: (u64, u64),
}

impl Hold {
    /// Begins to use `stage`. The stage stays after use if `after_use` says so, or if an earlier process has said so.
    ///
    /// # Errors
    /// As [`Stage::lease`], and [`Error::CannotWrite`] when the stage's description cannot be changed.
    pub fn take(user_dir: &UserDir, stage: &Stage, after_use: AfterUse) -> Result<Self> {
        let lease = stage.lease()?;
        // The value `stage` may contain the publisher's lease, which would outlive this hold. So the stage is looked up
        // again.
        let gone = || {
            Error::TryAgain(format!("the stage {stage} was removed by another process: try again"))
        };
        let stage = Stage::find(user_dir, &stage.id)?.ok_or_else(gone)?;
        if after_use == AfterUse::Keep {
            stage.keep()?;
        }
        let after_use = AfterUse::keep_if(
            after_use == AfterUse::Keep || stage.info().is_ok_and(|info| info.keep),
        );
        let before = stage.counters();
        Ok(Self { stage, user_dir: user_dir.clone(), lease, after_use, before })
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Ends the use. Removes the stage if nobody else uses it, unless it is to be kept.
    pub fn release(self) -> Released {
        let (answered, passed) = self.stage.counters();
        let (answered, passed) =
            (answered.saturating_sub(self.before.0), passed.saturating_sub(self.before.1));
        drop(self.lease);
        let exclusive = Lease::exclusive(&self.stage.dir);
        let purged = match (self.after_use, exclusive) {
            (AfterUse::Remove, Some(_exclusive)) => self.stage.purge().is_ok(),
            _ => false,
        };
        if purged {
            self.user_dir.tidy();
        }
        Released { purged, answered, passed }
    }
}

/// The result of releasing a hold: whether the stage was removed, and how often the stage was used.
#[derive(Debug, Clone, Copy)]
pub struct Released {
    /// Whether this was the last use and the stage was removed.
    pub purged: bool,
    /// Number of operations that were answered locally.
    pub answered: u64,
    /// Number of operations below a prefix that went to the shared file system.
    pub passed: u64,
}
