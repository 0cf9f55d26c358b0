//! Cases of scripts: a script sees its original name, and its interpreter comes from the stage.

use std::path::Path;

use crate::exec::programs;
use crate::objects;
use crate::tree::Tree;
use crate::world::Case;

/// Makes the tree of [`programs`], and scripts with all kinds of first lines.
fn scripts(t: &Tree) {
    programs(t);
    t.link("bin/to-script", "script");
    t.program("bin/arguments", "#!\t/bin/sh  -e -u\t \necho never\n");
    t.program("bin/nested", &t.fill("#!{E}/bin/script one two\nnever\n"));
    t.program("bin/no-newline", "#!/bin/cat");
    t.program("bin/by-env", "#!/usr/bin/env show\n");
    t.program("bin/outer-link", &t.fill("#!{M}/out/to-show x\n"));
    t.link("../out/to-show", "{E}/bin/show");
    t.program("../out/script", &t.fill("#!{E}/bin/show of the prefix\n"));
    t.program("bin/level0", "#!/bin/sh\necho level 0 \"$@\"\n");
    for level in 1..9 {
        t.program(
            &format!("bin/level{level}"),
            &t.fill(&format!("#!{{E}}/bin/level{} by{level}\n", level - 1)),
        );
    }
    t.program("bin/itself", &t.fill("#!{E}/bin/itself\n"));
}

/// Makes an environment as `python3 -m venv --copies` does.
pub fn environment(t: &Tree) {
    programs(t);
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    objects::copy(t, &python, "bin/python3");
    t.link("bin/python", "python3");
    t.file("pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
    let version = python.file_name().unwrap().to_str().unwrap();
    t.file(
        &format!("lib/{version}/site-packages/module.py"),
        "import os\nanswer = os.path.basename(__file__)\ndef work(n):\n    import sys\n    return n, sys.executable, sys.prefix, __file__\n",
    );
    t.dir(&format!("lib/{version}/site-packages/__pycache__"));
    let shows = "import sys, os, module\n\
                 print(sys.argv, sys.executable, sys.prefix, sys.flags.ignore_environment, module.__file__)\n\
                 print(__file__, os.path.exists(sys.executable), os.environ.get('LD_PRELOAD'))\n";
    t.program("bin/direct", &t.fill(&format!("#!{{E}}/bin/python -EB\n{shows}")));
    t.program("bin/by-env", &format!("#!/usr/bin/env python\n{shows}"));
    let workers = "import concurrent.futures, multiprocessing, module\n\
         if __name__ == '__main__':\n\
         \x20   for method in ('spawn', 'forkserver', 'fork'):\n\
         \x20       with multiprocessing.get_context(method).Pool(2) as pool:\n\
         \x20           print(method, pool.map(module.work, range(3)), flush=True)\n";
    t.program("bin/workers", &t.fill(&format!("#!{{E}}/bin/python\n{workers}")));
    assert!(Path::new("/usr/lib").join(version).is_dir(), "the system's own Python");
}

#[test]
fn scripts_see_their_original_names_and_arguments() {
    Case::c("exec", "scripts").tree(scripts).says("  argv[1] of the prefix").run();
}

#[test]
fn scripts_run_by_scripts_are_followed_as_deep_as_the_kernel_goes() {
    Case::c("exec", "levels")
        .tree(scripts)
        .says("  fails: Too many levels of symbolic links")
        .run();
}

#[test]
fn a_script_by_descriptor_gets_the_name_of_the_descriptor() {
    Case::c("exec", "scripts_by_descriptor").tree(scripts).run();
}

#[test]
fn a_file_that_is_not_a_program_is_run_by_the_shell() {
    Case::c("exec", "shell_fallback").tree(scripts).says("blank").run();
}

#[test]
fn a_shell_runs_scripts_of_the_prefix() {
    Case::sh(
        "PATH=$E/bin:$PATH; script 1 'a b'; $E/bin/nested; cd $E/bin; ./script x; text y; ./level3 z; by-env q; \
         blank; bash -c 'script from bash; text from bash; . script; exec nested'; no-mode; crlf; echo $?; which script",
    )
    .tree(scripts)
    .run();
}

#[test]
fn scripts_of_python_see_the_environment_that_they_belong_to() {
    Case::sh(
        "$E/bin/direct 1 'a b'; PATH=$E/bin:$PATH; by-env 2; cd $E/bin; ./direct 3; python direct 4; env -i $E/bin/direct 5; \
         python -c 'import subprocess, sys; print(subprocess.run([\"direct\", \"6\"], capture_output=True, text=True), \
         subprocess.run([sys.executable, \"-B\", \"direct\", \"7\"], env={}, capture_output=True, text=True))'",
    )
    .tree(environment)
    .variable("PYTHONDONTWRITEBYTECODE", "1")
    .run();
}

// tests/jobs runs `pip list` and process pools in a large environment.
#[test]
fn workers_of_python_start_without_an_operation() {
    Case::sh("$E/bin/workers").tree(environment).variable("PYTHONDONTWRITEBYTECODE", "1").run();
}
