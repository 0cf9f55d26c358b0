#!/usr/bin/env python3
"""typed.py PROMPT COMMAND… <LINES: runs COMMAND in a terminal of its own and types the LINES, each when PROMPT has come.

Prints all that the terminal shows, without carriage returns; ends with the command's exit status, or 128 and the signal's
number. A line is typed only behind a prompt, so that what is echoed and what is printed never mix. Behind the last line
comes the end of the input (Control-D) if the command waits at a prompt once more. A prompt that does not come within a
minute ends the command: status 124.
"""
import os
import pty
import select
import sys
import time

prompt, command = sys.argv[1].encode(), sys.argv[2:]
lines = [line.rstrip(b"\n") for line in sys.stdin.buffer]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "dumb"
    os.execvp(command[0], command)
shown, looked_at, until = b"", 0, time.monotonic() + 60
while True:
    readable, _, _ = select.select([terminal], [], [], max(0, until - time.monotonic()))
    if not readable:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        sys.stdout.buffer.write(shown.replace(b"\r", b"") + b"\ntyped.py: no prompt\n")
        sys.exit(124)
    try:
        more = os.read(terminal, 65536)
    except OSError:  # EIO: the other end is closed.
        break
    if not more:
        break
    shown += more
    at = shown.find(prompt, looked_at)
    if at >= 0:
        looked_at, until = at + len(prompt), time.monotonic() + 60
        os.write(terminal, lines.pop(0) + b"\r" if lines else b"\x04")
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(shown.replace(b"\r", b""))
sys.exit(os.waitstatus_to_exitcode(status) % 256 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
