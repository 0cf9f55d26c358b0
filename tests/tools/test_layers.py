"""Tests layers.py on a small source tree, and on a copy of the real one."""
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layers  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOMS = "```rooms src\nrun/    runs\nstage/  stages\ntext    names\n```\n"


class Small(unittest.TestCase):
    def said(self, files, rooms=ROOMS):
        with tempfile.TemporaryDirectory() as top:
            tree = {"src/run/mod.rs": "", "src/stage/mod.rs": "", "src/text.rs": "", "src/lib.rs": "", "docs/design.md": rooms, **files}
            for name, text in tree.items():
                os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
                with open(os.path.join(top, name), "w", encoding="utf-8") as file:
                    file.write(text)
            return layers.check(top)

    def test_a_downward_import_is_allowed(self):
        self.assertEqual(self.said({"src/run/mod.rs": "use crate::{stage::{self, a}, text};\nfn f() { crate::text::g() }"}), [])

    def test_an_upward_import_is_an_error_in_each_way_to_write_it(self):
        for text in ("use crate::run::x;", "use crate::{text, run as r};", "use crate::{text::{a, b}, run::{self, x}};",
                     "pub(crate) use super::run::x;", "fn f() { crate::run::x() }", "fn f(a: super::run::A) {}",
                     "mod inner { use super::super::run::x; }", "macro_rules! m { () => { $crate::run::x() } }"):
            said = self.said({"src/stage/mod.rs": text})
            self.assertEqual(len(said), 1, text)
            self.assertIn("src/stage/mod.rs:1: stage uses run", said[0])
        self.assertEqual(len(self.said({"src/stage/deep/er.rs": "use super::super::super::run::x;"})), 1)

    def test_comments_strings_and_tests_are_not_read(self):
        text = '//! See [`crate::run`].\n/* crate::run::x */ const A: &str = "crate::run::x"; const B: char = \'"\';\n' \
               "#[cfg(test)]\nmod tests { use crate::run::x; }\n#[cfg(test)]\nuse crate::run::x;\n"
        self.assertEqual(self.said({"src/stage/mod.rs": text}), [])
        self.assertEqual(len(self.said({"src/stage/mod.rs": text + "use crate::run::x;"})), 1)

    def test_an_import_of_a_name_from_a_higher_room_is_an_error(self):
        files = {"src/stage/mod.rs": "", "src/text.rs": "use crate::stage::x;", "src/stage/a.rs": ""}
        self.assertEqual(len(self.said(files)), 1)

    def test_a_room_that_is_missing_in_the_tree_or_the_document_is_an_error(self):
        self.assertEqual(self.said({"src/new.rs": ""}), ["docs/design.md does not have the room src/new"])
        self.assertEqual(self.said({}, ROOMS.replace("text    ", "gone/  x\ntext    ")), ["docs/design.md: there is no src/gone/"])
        self.assertEqual(self.said({}, ROOMS.replace("text    names", "text")), ["docs/design.md: src/text has no description"])
        self.assertEqual(self.said({}, "no block"), ["docs/design.md draws no rooms"])

    def test_a_circle_between_files_of_a_room_is_an_error(self):
        circle = {"src/run/a.rs": "use super::b::x;", "src/run/b.rs": "use crate::run::c::x;", "src/run/c.rs": "use super::a::x;"}
        self.assertEqual(self.said(circle), ["src: a circle: run/a.rs, run/b.rs, run/c.rs"])
        # A name that the parent re-exports can close a circle.
        self.assertEqual(len(self.said({"src/run/mod.rs": "pub use b::X;", "src/run/a.rs": "use super::X;", "src/run/b.rs": "use super::a::x;"})), 1)
        # A parent and its child may need each other.
        self.assertEqual(self.said({"src/run/mod.rs": "use a::x;", "src/run/a.rs": "use super::y;"}), [])
        self.assertEqual(self.said({"src/run/a.rs": "use super::b::x;", "src/run/b.rs": "#[cfg(test)]\nmod tests { use crate::run::a::x; }"}), [])


class Real(unittest.TestCase):
    def test_an_upward_import_that_is_put_in_is_found(self):
        with tempfile.TemporaryDirectory() as top:
            for name in ("docs", "src", "preload"):
                shutil.copytree(os.path.join(TOP, name), os.path.join(top, name), ignore=shutil.ignore_patterns("target"))
            before = layers.check(top)
            with open(os.path.join(top, "docs/design.md"), encoding="utf-8") as file:
                blocks = layers.BLOCK.findall(file.read())
            for directory, block in blocks:
                order = [line.split()[0] for line in block.splitlines()]
                lowest = order[-1] + "mod.rs" if order[-1].endswith("/") else order[-1] + ".rs"
                with open(os.path.join(top, directory, lowest), "a", encoding="utf-8") as file:
                    file.write(f"\nuse crate::{order[0].rstrip('/')}::x;\n")
            new = [line for line in layers.check(top) if line not in before]
            self.assertEqual(len(new), len(blocks), new)
            for line in new:
                self.assertIn("which is higher", line)


if __name__ == "__main__":
    unittest.main()
