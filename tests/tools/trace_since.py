"""trace_since.py TRACE BYTE >OUT: what `strace -f -o TRACE` wrote since TRACE was BYTE bytes long, in calls that began since.

strace writes the beginning of a call when the call begins. A daemon is therefore at any time in the middle of a line, or of a
call whose second half comes later.

Invariants: only the rest of that line is left out, and second halves of calls that began before.
"""
import re
import sys

import stracelog

SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")


def since(lines):
    """The lines without the second halves of calls whose first ones are not among them."""
    begun = set()
    for line in lines:
        number = stracelog.PID.match(line)
        if number:
            pid, text = number.group(1), line[number.end():].rstrip("\n")
            if stracelog.RESUMED.match(text):
                if pid not in begun:
                    continue
                begun.discard(pid)
            elif stracelog.UNFINISHED.search(text):
                begun.add(pid)
            # An exec by another thread comes back as the process.
            thread = SUPERSEDED.match(text)
            if thread and thread.group(1) in begun:
                begun.add(pid)
        yield line


def main():
    path, byte = sys.argv[1], int(sys.argv[2])
    with open(path, "rb") as file:
        # The line in which it was, unless it was at the end of one.
        if byte:
            file.seek(byte - 1)
            file.readline()
        for line in since(line.decode("utf-8", "surrogateescape") for line in file):
            sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main()
