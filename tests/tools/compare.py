"""compare.py BARE PYSHM [--size N]: compares the rank files of two runs of app.py (directories), or two outputs of
view.py (files). Prints each difference with its place in the record. Exit status: 1 if there are differences, 2 if a
file is missing.

pyshm's own variables (LD_PRELOAD, PYSHM_*), which the caller may have set, are compared only with `--strict-env`.
`--ignore REGEX` (repeatable) leaves out the places that match, such as `process/environ/FOO$`.
"""
import argparse
import json
import os
import re
import signal
import sys

OWN = r"/environ/(LD_PRELOAD|PYSHM_\w+)$"


def differences(bare, other, at=""):
    """Yields (place, bare value, other value)."""
    if isinstance(bare, dict) and isinstance(other, dict):
        for key in sorted(set(bare) | set(other)):
            yield from differences(bare.get(key, "(absent)"), other.get(key, "(absent)"), f"{at}/{key}")
    elif isinstance(bare, list) and isinstance(other, list) and len(bare) == len(other):
        for i, (left, right) in enumerate(zip(bare, other)):
            yield from differences(left, right, f"{at}[{i}]")
    elif bare != other:
        yield at, bare, other


def ranks(directory):
    return {name for name in os.listdir(directory) if re.fullmatch(r"rank-\d+\.json", name)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bare")
    parser.add_argument("pyshm")
    parser.add_argument("--size", type=int, help="number of rank files that must exist")
    parser.add_argument("--ignore", action="append", default=[], metavar="REGEX")
    parser.add_argument("--strict-env", action="store_true")
    options = parser.parse_args()
    ignored = [re.compile(text) for text in options.ignore + ([] if options.strict_env else [OWN])]

    if os.path.isdir(options.bare):
        names = ranks(options.bare) | ranks(options.pyshm)
        if options.size is not None:
            names |= {f"rank-{n}.json" for n in range(options.size)}
        if not names:
            print("compare.py: neither directory has a rank file (rank-N.json)", file=sys.stderr)
            return 2
        pairs = [(name, os.path.join(options.bare, name), os.path.join(options.pyshm, name))
                 for name in sorted(names, key=lambda n: int(re.search(r"\d+", n).group()))]
    else:
        pairs = [("view", options.bare, options.pyshm)]

    status = 0
    for name, left, right in pairs:
        missing = [path for path in (left, right) if not os.path.exists(path)]
        if missing:
            print(f"{name}: missing {' '.join(missing)}")
            status = 2
            continue
        with open(left, encoding="utf-8") as a, open(right, encoding="utf-8") as b:
            for place, bare, other in differences(json.load(a), json.load(b)):
                if any(pattern.search(place) for pattern in ignored):
                    continue
                print(f"{name}{place}:\n  bare:  {bare!r}\n  pyshm: {other!r}")
                status = status or 1
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
