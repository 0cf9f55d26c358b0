#!/usr/bin/env python3
"""hooks_off.py [--families FAMILY,…] [FUNCTION…]: checks that for every hook there is a case that fails without the
hook.

For every function of preload/exports.txt (or every FUNCTION) the script copies the installation. In the copy it removes
the function's symbol from libpyshm.so, so that programs get libc's own function. Then it runs the case that
tests/cases/hooks.txt names for the function. The case must fail on the copy, and pass on the installation. FAMILY is a
file (without its ending) or a directory below preload/src/hooks. With --families the script only checks the functions
that these files declare.

Invariants: a function without a case is an error, and so is a case that fails on the installation. The installation is
$PYSHM_TEST_INSTALL, or else target/pyshm, and is never changed.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
SHIM = "lib/libpyshm.so"
SHT_DYNSYM = 11


def switched_off(image, name):
    """Returns a copy of an ELF file in which the dynamic symbol NAME is undefined, so that the loader looks further."""
    image = bytearray(image)
    if image[:5] != b"\x7fELF\x02":
        raise ValueError("not a 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count = struct.unpack_from("<HH", image, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + i * size) for i in range(count)]
    found = 0
    for section in (s for s in sections if s[1] == SHT_DYNSYM):
        start, length, link, entry = section[4], section[5], section[6], section[9]
        strings = sections[link][4]
        for at in range(start, start + length, entry):
            text, _, _, index, _, _ = struct.unpack_from("<IBBHQQ", image, at)
            end = image.index(0, strings + text)
            if index != 0 and image[strings + text:end].decode() == name:
                struct.pack_into("<HQ", image, at + 6, 0, 0)    # st_shndx and st_value
                found += 1
    if found != 1:
        raise ValueError(f"{name} is {found} times in the table of dynamic symbols")
    return bytes(image)


def case_of():
    """Maps each function of hooks.txt to its case."""
    table = {}
    for line in (TOP / "tests/cases/hooks.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            function, case = line.split()
            if function in table:
                raise ValueError(f"hooks.txt names {function} twice")
            table[function] = case
    return table


def declared_in(families):
    """Returns the functions that these families of hooks declare."""
    names = set()
    for family in families:
        hooks = TOP / "preload/src/hooks"
        files = [*hooks.rglob(f"{family}.rs"), *hooks.rglob(f"{family}/*.rs")]
        if not files:
            raise ValueError(f"there is no family {family} in {hooks}")
        for file in files:
            for declared in re.findall(r"\bfn ([\w\s,]+)\(", file.read_text()):
                names |= set(declared.replace(",", " ").split())
    return names


def test_program():
    """Builds the test program of the cases and returns its path."""
    command = ["cargo", "test", "--no-run", "--test", "cases", "--message-format=json"]
    built = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=True, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "cases" and message["executable"]:
            return message["executable"]
    raise ValueError("cargo built no program of the cases")


def passes(program, case, installation):
    """Returns whether a case passes on an installation."""
    ended = subprocess.run([program, "--exact", case], cwd=TOP, capture_output=True, text=True, check=False,
                           env={**os.environ, "PYSHM_TEST_INSTALL": str(installation), "RUST_BACKTRACE": "0"})
    if "running 1 test\n" not in ended.stdout:
        raise ValueError(f"there is no case {case}: {ended.stdout}{ended.stderr}")
    return ended.returncode == 0


def without(function, installation, scratch):
    """Copies the installation without the symbol of a function and returns the copy's path."""
    copy = scratch / function
    shutil.copytree(installation, copy, ignore=shutil.ignore_patterns("libpyshm.so", "pyshm-bcast-*"))
    (copy / SHIM).write_bytes(switched_off((installation / SHIM).read_bytes(), function))
    return copy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*")
    parser.add_argument("--families", help="check only the functions of these families of hooks, separated by commas")
    options = parser.parse_args()
    begun = time.monotonic()
    installation = pathlib.Path(os.environ.get("PYSHM_TEST_INSTALL", TOP / "target/pyshm")).resolve()
    exported = (TOP / "preload/exports.txt").read_text().split()
    guards = case_of()
    wanted = options.functions or exported
    if options.families:
        wanted = [f for f in wanted if f in declared_in(options.families.split(","))]
    wrong = [f"{f}: libpyshm.so does not export this function" for f in (*guards, *options.functions) if f not in exported]
    wrong += [f"{f}: hooks.txt names no case for this function" for f in wanted if f not in guards]
    functions = [f for f in wanted if f in guards and f in exported]
    program = test_program()

    with tempfile.TemporaryDirectory(prefix="pyshm-hooks-", dir="/var/tmp") as directory, \
            concurrent.futures.ThreadPoolExecutor(2) as pool:
        scratch = pathlib.Path(directory)
        scratch.chmod(0o755)

        def notices(function):
            copy = without(function, installation, scratch)
            noticed = not passes(program, guards[function], copy)
            shutil.rmtree(copy)
            return noticed

        cases = sorted({guards[f] for f in functions})
        for case, passed in zip(cases, pool.map(lambda case: passes(program, case, installation), cases)):
            if not passed:
                wrong.append(f"{case} fails on the unchanged installation")
        for function, noticed in zip(functions, pool.map(notices, functions)):
            print(f"{'  ok  ' if noticed else '  FAIL'} {function:32} {guards[function]}", flush=True)
            if not noticed:
                wrong.append(f"{guards[function]} passes although {function} is switched off")
    for line in wrong:
        print(line)
    print(f"{len(functions)} hooks switched off, {len(wrong)} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if wrong or not functions else 0


if __name__ == "__main__":
    sys.exit(main())
