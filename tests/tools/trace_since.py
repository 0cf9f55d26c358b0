"""trace_since.py TRACE BYTE >OUT: prints the calls of a strace (`-f -o TRACE`) that began since TRACE was BYTE bytes
long.

strace writes the first half of a line when the call begins. So TRACE may end in the middle of a line, or between the
two halves of a call that strace splits into two lines.

Invariants: the script leaves out only two things: the part of the line at BYTE that follows BYTE, and the second halves
of calls that began before BYTE.
"""
import re
import sys

import stracelog

SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")


def since(lines):
    """Yields the lines, but no second half of a call whose first half is not among them."""
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
            # If a thread makes an exec, the second half has the number of the process.
            thread = SUPERSEDED.match(text)
            if thread and thread.group(1) in begun:
                begun.add(pid)
        yield line


def main():
    path, byte = sys.argv[1], int(sys.argv[2])
    with open(path, "rb") as file:
        # Skip to the end of the line, unless BYTE is at the beginning of a line.
        if byte:
            file.seek(byte - 1)
            file.readline()
        for line in since(line.decode("utf-8", "surrogateescape") for line in file):
            sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main()
