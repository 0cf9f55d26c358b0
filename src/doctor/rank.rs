//! Stages a small directory and starts a program in the same way as a rank. The program must read the text that was
//! bundled, not the newer text in the directory.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pyshm_format::layout;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::bundle::{Named, PackOptions, PrefixSpec, pack};
use crate::doctor::Finding;
use crate::error::{Error, Result};
use crate::manifest::prefix::Mode;
use crate::process::signals;
use crate::progress::Progress;
use crate::settings;
use crate::stage::{BuildOptions, Freshness, Stage, StageId, UserDir, stage_here, teardown};

const WHAT: &str = "test rank";
/// The text of the file when it is bundled.
const STAGED: &str = "staged";
/// The text of the file after it was bundled.
const SHARED: &str = "shared";

/// Examines whether a program reads from a stage in `root`.
pub(super) fn try_one(root: &Path) -> Finding {
    match read_staged(root) {
        Err(error) => {
            let advice = "repair this first: until then jobs run from the shared file system";
            Finding::failure(WHAT, &error.to_string(), advice)
        }
        Ok((text, _)) if text == STAGED => {
            Finding::ok(WHAT, "a program is answered from a stage in this root")
        }
        Ok(_) if settings::variable(layout::ENV_DISABLE).is_some_and(|value| value != "0") => {
            let cause = format!(
                "{} is set: a program was answered from the shared file system",
                layout::ENV_DISABLE
            );
            Finding::failure(WHAT, &cause, "unset it")
        }
        Ok((text, said)) => {
            let reason = said.lines().find_map(|line| line.strip_prefix("pyshm: "));
            let reason = reason.or(said.lines().next()).unwrap_or("it printed no reason");
            let from = if text == SHARED { "the shared file system" } else { "nothing" };
            let cause = format!("a program was answered from {from}: {reason}");
            let advice = "make sure that LD_PRELOAD reaches programs here, and that the installation is complete";
            Finding::failure(WHAT, &cause, advice)
        }
    }
}

/// Stages the directory and runs the program. Returns the text that the program reads, and its standard error.
fn read_staged(root: &Path) -> Result<(String, String)> {
    let temporary = std::env::temp_dir();
    let failed = || Error::write(&temporary);
    let dir =
        tempfile::Builder::new().prefix("pyshm-doctor-").tempdir_in(&temporary).map_err(failed())?;
    // A bundle records the path without symbolic links.
    let top = fs::canonicalize(dir.path()).map_err(failed())?;
    let (prefix, bundle) = (top.join("prefix"), top.join("bundle.tar.zst"));
    let file = prefix.join("file");
    fs::create_dir(&prefix).and_then(|()| fs::write(&file, STAGED)).map_err(Error::write(&file))?;
    let spec = PrefixSpec { path: prefix, mode: Mode::Snapshot };
    pack(&[spec], &bundle, &PackOptions { level: None, progress: Progress::Hidden })?;
    fs::write(&file, SHARED).map_err(Error::write(&file))?;

    let user_dir = UserDir::open(root)?;
    teardown::register_user_dir(&user_dir);
    signals::end_on(&[SIGINT, SIGTERM, SIGHUP])?;
    let said = stage_here_and_read(&user_dir, &bundle, &file);
    user_dir.tidy();
    said
}

/// Stages without a reserve, since another finding says whether real bundles have room, and runs the program.
fn stage_here_and_read(user_dir: &UserDir, bundle: &Path, file: &Path) -> Result<(String, String)> {
    let bundles = [Named::file(bundle)];
    let id = StageId::of_bundles(&bundles)?;
    let options = BuildOptions {
        threads: 1,
        freshness: Freshness::JustCompared,
        reserve: Some(0),
        ..BuildOptions::default()
    };
    let Some(staged) = stage_here(user_dir, &id, &bundles, options)? else {
        return Ok((String::new(), "nothing was staged".into()));
    };
    let said = read(&staged.stage, file);
    staged.stage.purge()?;
    said
}

/// Starts a program that reads `file` from the stage. Returns its standard output and standard error.
fn read(stage: &Stage, file: &Path) -> Result<(String, String)> {
    let mut program = Command::new(stage.dir.join(layout::TRAMPOLINE));
    program.args(["cat".as_ref(), file]).env(layout::ENV_LOG, "1").stdin(Stdio::null());
    let done = program.output().map_err(Error::system("start the trampoline"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    Ok((text(&done.stdout), text(&done.stderr)))
}
