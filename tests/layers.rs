//! Tests layers. pyshm refuses a hostile layer with a message that names the layer, and leaves nothing of the stage.
//! pyshm applies every other layer exactly. `tests/jobs/layers.sh` tests what programs see of stacks.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{Hostile, Tool, write_lies};
use pyshm_tools::bundle::{Named, PackOptions, PrefixSpec, Reader, pack, pack_over};
use pyshm_tools::exit_codes;
use pyshm_tools::manifest::entry::EntryKind;
use pyshm_tools::manifest::layer::{Layer, LowerBundle};
use pyshm_tools::manifest::prefix::Mode;
use pyshm_tools::manifest::{Manifest, Stack};
use pyshm_tools::progress::Progress;
use serde_bytes::ByteBuf;

/// Reads the manifest of a bundle.
fn read(bundle: &Path) -> Manifest {
    match Reader::open(&Named::file(bundle)).unwrap().content() {
        pyshm_tools::bundle::Content::Bundle(manifest) => manifest.clone(),
        pyshm_tools::bundle::Content::Archive(_) => panic!("the file is not a bundle of pyshm"),
    }
}

/// Writes a bundle like [`write_lies`]: a layer, or a whole bundle if `layer` is `None`.
fn write_bundle(bundle: &Path, entries: Vec<Hostile>, layer: Option<Layer>) {
    write_lies(bundle, entries, |manifest, _| manifest.layer = layer);
}

fn lower_bundles(base: &Path) -> Vec<LowerBundle> {
    vec![LowerBundle { name: "base".into(), digest: read(base).digest }]
}

#[test]
fn a_hostile_layer_is_refused_and_leaves_nothing() {
    let tool = Tool::new();
    let base = tool.path("base.tar.zst");
    let file = EntryKind::File { offset: 0, digest: [0; 32], runpath: None };
    let link = EntryKind::Symlink(ByteBuf::from("/tmp"));
    let lower = vec![
        Hostile::new("/p/d", EntryKind::Directory, 0),
        Hostile::new("/p/d/f", file.clone(), 5),
        Hostile::new("/p/link", link, 4),
    ];
    write_bundle(&base, lower, None);
    let good = || Layer { over: lower_bundles(&base), implied: vec![0], ..Layer::default() };
    let gone = |path: &str| Layer { removed: vec![ByteBuf::from(path)], ..good() };
    let cases = [
        ("outside its prefixes", vec![], gone("/etc/passwd")),
        ("outside its prefixes", vec![], gone("/pp")),
        ("'..' as a part", vec![], gone("/p/../etc")),
        ("not a possible path", vec![], gone("/p/a\0b")),
        ("removes its own prefix", vec![], gone("/p")),
        ("implied directory", vec![], Layer { implied: vec![7], ..good() }),
        (
            "implied directory",
            vec![Hostile::new("/p/x", file.clone(), 0)],
            Layer { implied: vec![1], ..good() },
        ),
        // The layer lists a symbolic link of the base as a directory, and a file below this directory.
        (
            "which is not a directory in the bundles named before the layer",
            vec![
                Hostile::new("/p/link", EntryKind::Directory, 0),
                Hostile::new("/p/link/x", file.clone(), 5),
            ],
            Layer { implied: vec![0, 1], ..good() },
        ),
        ("the layer has no data for /p/n", vec![Hostile::new("/p/n", EntryKind::Below, 5)], good()),
        ("the layer has no data for /p/d", vec![Hostile::new("/p/d", EntryKind::Below, 0)], good()),
        // With this length, a reader would go beyond the end of the file in the lower bundle.
        (
            "the layer has no data for /p/d/f",
            vec![
                Hostile::new("/p/d", EntryKind::Directory, 0),
                Hostile::new("/p/d/f", EntryKind::Below, 4096),
            ],
            good(),
        ),
        (
            "is a hard link to something that is not a file",
            vec![Hostile::new("/p/h", EntryKind::HardLink(0), 5)],
            good(),
        ),
    ];
    for (why, entries, layer) in cases {
        let bundle = tool.path("layer.tar.zst");
        write_bundle(&bundle, entries, Some(layer));
        let args =
            ["stage".as_ref(), "-b".as_ref(), base.as_os_str(), "-b".as_ref(), bundle.as_os_str()];
        let said = tool.run(&args).fails(exit_codes::BAD_BUNDLE);
        assert!(said.contains("layer.tar.zst") && said.contains(why), "{why}: {said}");
        assert!(tool.root_is_empty());
    }
    // A whole bundle has no lower bundle.
    let bundle = tool.path("whole.tar.zst");
    write_bundle(&bundle, vec![Hostile::new("/p/n", EntryKind::Below, 5)], None);
    let said = tool
        .run(&["stage".as_ref(), "-b".as_ref(), bundle.as_os_str()])
        .fails(exit_codes::BAD_BUNDLE);
    assert!(said.contains("has no data"), "{said}");
}

#[test]
fn bundles_of_different_trees_have_different_digests() {
    let tool = Tool::new();
    let env = tool.path("env");
    fs::create_dir(&env).unwrap();
    fs::write(env.join("a"), "a").unwrap();
    let base = tool.bundle("env", "base.tar.zst");
    let manifest = read(&base);
    let again = Manifest::parse(&manifest.to_bytes()).unwrap();
    assert_eq!(again.digest, manifest.digest);
    // Another content gives another digest.
    fs::write(env.join("a"), "b").unwrap();
    assert_ne!(read(&tool.bundle("env", "again.tar.zst")).digest, manifest.digest);
}

/// Makes the specification of a snapshot prefix.
fn spec(dir: &Path) -> PrefixSpec {
    PrefixSpec { path: dir.to_path_buf(), mode: Mode::Snapshot }
}

/// Lists every path below `top` with the number of the bundle that the path comes from.
fn shown(stack: &Stack, top: &Path) -> Vec<String> {
    let mut lines: Vec<String> = (stack.entries())
        .filter_map(|(b, e)| Some((b, e.path().strip_prefix(top).ok()?)))
        .map(|(b, path)| format!("{} {b}", path.display()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_hard_link_outlives_the_name_it_was_packed_under() {
    let tool = Tool::new();
    let env = tool.path("env");
    fs::create_dir(&env).unwrap();
    fs::write(env.join("a"), "data").unwrap();
    fs::hard_link(env.join("a"), env.join("b")).unwrap();
    fs::hard_link(env.join("a"), env.join("c")).unwrap();
    let options = PackOptions { level: None, progress: Progress::Hidden };
    let (base, layer) = (tool.path("base.tar.zst"), tool.path("layer.tar.zst"));
    pack(&[spec(&env)], &base, &options).unwrap();
    fs::remove_file(env.join("a")).unwrap();
    pack_over(&[spec(&env)], std::slice::from_ref(&base), &layer, &options).unwrap();
    let manifest = read(&layer);
    // Of the files `b` and `c` only the number of links changed, not the data.
    let kinds: Vec<&EntryKind> = manifest.entries[1..].iter().map(|e| &e.kind).collect();
    assert_eq!(kinds, [&EntryKind::Below, &EntryKind::HardLink(1)]);
    assert_eq!(manifest.layer.as_ref().unwrap().removed.len(), 1);
    let mut stack = Stack::default();
    stack.lay(read(&base)).unwrap();
    let plan = stack.plan(&manifest).unwrap();
    assert_eq!(plan.links, [(env.join("a"), env.join("b"))]);
    assert_eq!(plan.remove, [env.join("a")]);
    stack.commit(manifest, plan);
    assert_eq!(shown(&stack, &env), [" 1", "b 1", "c 1"]);
}

#[test]
fn a_whiteout_in_a_foreign_layer_leaves_the_other_hard_links_of_a_file() {
    let tool = Tool::new();
    let env = tool.path("env");
    fs::create_dir(&env).unwrap();
    fs::write(env.join("a"), "data").unwrap();
    fs::hard_link(env.join("a"), env.join("b")).unwrap();
    fs::hard_link(env.join("a"), env.join("c")).unwrap();
    let tar = |name: &str, members: &[(&str, &str)]| {
        let mut tar = tar::Builder::new(fs::File::create(tool.path(name)).unwrap());
        for (member, data) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, member, data.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
    };
    tar("layer.tar", &[(".wh.a", ""), ("new", "new")]);
    let base = tool.bundle("env", "base.tar.zst");
    let layer = tool.path("layer.tar");
    let prefix = env.to_str().unwrap();
    // The second stage adopts the base from the first stage. The files of the first stage must not change.
    let first = tool.run(&["stage", "-b", base.to_str().unwrap()]).ok();
    let taken = Path::new(first.trim()).join("fs").join(env.strip_prefix("/").unwrap()).join("a");
    let is = || {
        let m = fs::metadata(&taken).unwrap();
        (m.ino(), m.mode(), m.atime_nsec(), m.atime(), m.mtime_nsec(), m.mtime())
    };
    let was = is();
    let args = ["stage", "-b", base.to_str().unwrap(), "-b", layer.to_str().unwrap()];
    let stage = tool.run(&[&args[..], &["--prefix", prefix, "--layer"]].concat()).ok();
    let staged = Path::new(stage.trim()).join("fs").join(env.strip_prefix("/").unwrap());
    let mut names: Vec<_> = fs::read_dir(&staged)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["b", "c", "new"]);
    assert_eq!(is(), was);
    let inode = |name: &str| fs::metadata(staged.join(name)).unwrap().ino();
    assert!(inode("b") == inode("c") && inode("b") != was.0);
    assert_eq!(fs::read_to_string(staged.join("c")).unwrap(), "data");
}

#[test]
fn a_job_gets_every_bundle_that_lies_over_one_that_it_uses() {
    use pyshm_tools::manifest::prefix::PrefixRecord;
    use pyshm_tools::manifest::stack::wanted;
    let of = |paths: &[&str]| -> Vec<PrefixRecord> {
        let record = |path: &&str| PrefixRecord {
            path: ByteBuf::from(*path),
            aliases: vec![],
            mode: Mode::Snapshot,
        };
        paths.iter().map(record).collect()
    };
    let bundles =
        [of(&["/venv", "/python"]), of(&["/python/lib"]), of(&["/other"]), of(&["/pythonic"])];
    let bundles: Vec<&[PrefixRecord]> = bundles.iter().map(Vec::as_slice).collect();
    assert_eq!(wanted(&bundles, &["/venv/bin/python".into()]), [true, true, false, false]);
    assert_eq!(wanted(&bundles, &["/pythonic/x".into()]), [false, false, false, true]);
}
