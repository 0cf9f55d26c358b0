#!/usr/bin/env python3
"""typed.py PROMPT COMMAND… <LINES: runs COMMAND in a new terminal and types the LINES, each after a PROMPT.

Prints the output of the terminal without carriage returns. The script waits for each prompt, so that the echo of a line
does not mix with the output of the command. At the first prompt after the last line the script types Control-D. If no
prompt comes within a minute, the script kills the command. Exit status: the command's; or 128 and the number of the signal
that ended the command; or 124 if no prompt came.
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
