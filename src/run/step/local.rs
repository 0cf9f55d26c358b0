//! Stages on this node with a helper process.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::protocol::events::{Event, Ready};
use crate::protocol::request::Request;
use crate::run::cli::Cli;
use crate::run::inbox::Inbox;
use crate::run::step::{Step, helper, unexpected};
use crate::run::summary;
use crate::stage::hold::Hold;
use crate::stage::{AfterUse, Stage, StageId, UserDir};

/// Runs a helper that stages on this node, and takes over the stage from it. `None` when there is nothing to stage.
///
/// # Errors
/// Those of the helper, and [`Error::TryAgain`] when the stage was removed meanwhile.
pub fn stage(cli: &Cli, request: &Request, inbox: &Inbox) -> Result<Option<(Hold, Ready)>> {
    let mut step = Step::help(helper::command(request)?, inbox)?;
    match step.wait(inbox, None)? {
        Event::Ready(ready) => {
            let user_dir = UserDir::open(&cli.root)?;
            let stage = ready.stage.display();
            let gone = || {
                Error::TryAgain(format!("failed to use stage {stage}: it was removed; try again"))
            };
            let id = ready.stage.file_name().and_then(|n| n.to_str()).ok_or_else(gone)?;
            let found = Stage::find(&user_dir, &StageId::parse(id)?)?.ok_or_else(gone)?;
            let hold = Hold::take(&user_dir, &found, AfterUse::keep_if(cli.keeps()))?;
            // Now this process uses the stage, so the helper may release it.
            step.finish(inbox);
            summary::warn(&ready.warnings);
            summary::show_timeline(&ready);
            cli.say(&format!("staged in {stage} in {:.1} s", ready.unpack_seconds));
            Ok(Some((hold, ready)))
        }
        Event::Nothing { reason } => {
            cli.say(&format!("nothing is staged: {reason}"));
            step.finish(inbox);
            Ok(None)
        }
        _ => Err(unexpected()),
    }
}
