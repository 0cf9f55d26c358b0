//! A rank on trial: a directory is bundled and staged, and a program that reads it must get what was bundled, and not what
//! the directory has by then.
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
use crate::settings;
use crate::stage::{BuildOptions, Freshness, Stage, StageId, UserDir, stage_here, teardown};

const WHAT: &str = "test rank";
/// The file's text when it is bundled, and afterwards.
const STAGED: &str = "staged";
const SHARED: &str = "shared";

pub(super) fn try_one(root: &Path) -> Finding {
    match read_staged(root) {
        Err(error) => {
            let advice = "see to what is said; until then jobs run from the shared file system";
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
            let reason = reason.or(said.lines().next()).unwrap_or("nothing says why");
            let from = if text == SHARED { "the shared file system" } else { "nothing" };
            let cause = format!("a program was answered from {from}: {reason}");
            let advice =
                "see that LD_PRELOAD reaches programs here, and that the installation is whole";
            Finding::failure(WHAT, &cause, advice)
        }
    }
}

/// What the program reads, and what it says on standard error.
fn read_staged(root: &Path) -> Result<(String, String)> {
    let temporary = std::env::temp_dir();
    let failed = || Error::write(&temporary);
    let dir =
        tempfile::Builder::new().prefix("pyshm-doctor-").tempdir_in(&temporary).map_err(failed())?;
    // As the kernel names it.
    let top = fs::canonicalize(dir.path()).map_err(failed())?;
    let (prefix, bundle) = (top.join("prefix"), top.join("bundle.tar.zst"));
    let file = prefix.join("file");
    fs::create_dir(&prefix).and_then(|()| fs::write(&file, STAGED)).map_err(Error::write(&file))?;
    let spec = PrefixSpec { path: prefix, mode: Mode::Snapshot };
    pack(&[spec], &bundle, &PackOptions { level: None, quiet: true })?;
    fs::write(&file, SHARED).map_err(Error::write(&file))?;

    let place = UserDir::open(root)?;
    teardown::register_user_dir(&place);
    signals::end_on(&[SIGINT, SIGTERM, SIGHUP])?;
    let said = stage_here_and_read(&place, &bundle, &file);
    place.tidy();
    said
}

// Whether there is room for real bundles is asked by itself, so nothing is reserved.
fn stage_here_and_read(place: &UserDir, bundle: &Path, file: &Path) -> Result<(String, String)> {
    let bundles = [Named::file(bundle)];
    let id = StageId::of_bundles(&bundles)?;
    let options = BuildOptions {
        threads: 1,
        freshness: Freshness::JustCompared,
        reserve: Some(0),
        ..BuildOptions::default()
    };
    let Some(staged) = stage_here(place, &id, &bundles, options)? else {
        return Ok((String::new(), "nothing was staged".into()));
    };
    let said = read(&staged.stage, file);
    staged.stage.purge()?;
    said
}

fn read(stage: &Stage, file: &Path) -> Result<(String, String)> {
    let mut program = Command::new(stage.dir.join(layout::TRAMPOLINE));
    program.args(["cat".as_ref(), file]).env(layout::ENV_LOG, "1").stdin(Stdio::null());
    let done = program.output().map_err(Error::system("start the trampoline"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    Ok((text(&done.stdout), text(&done.stderr)))
}
