"""interrupt.py (--ctrl-c | --term) --when COMMAND [--within S] -- CMD...: runs CMD on a new terminal and interrupts it.

Waits until the shell command COMMAND succeeds, then types Ctrl-C on the terminal or sends SIGTERM to CMD's pyshm-run,
and waits until CMD ends. Prints how long CMD took to end after the interruption. Exit status: 1 if CMD took more than S
seconds (default 5), 2 if COMMAND never succeeded. On a busy machine S is multiplied by the number of processes that share
a processor.
"""
import argparse
import os
import pty
import select
import signal
import subprocess
import sys
import time


def pyshm_run_below(pid):
    """Returns the first pyshm-run among a process and its descendants that is no helper, or None."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if words[0].endswith(b"/pyshm-run") and b"__helper" not in words:
            return pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((found for child in children if (found := pyshm_run_below(int(child)))), None)


def load():
    """Returns how many processes share a processor, at least 1."""
    return max(1, os.getloadavg()[0] / os.cpu_count())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--ctrl-c", action="store_true")
    how.add_argument("--term", action="store_true")
    parser.add_argument("--when", required=True)
    parser.add_argument("--within", type=float, default=5.0)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    pid, terminal = pty.fork()
    if pid == 0:
        # A background job of a script ignores these signals. CMD must not ignore them, like a program that a login shell
        # starts.
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(options.command[0], options.command)

    sent, limit, ended = None, time.monotonic() + 600, None
    while ended is None:
        if select.select([terminal], [], [], 0.02)[0]:
            try:
                sys.stdout.buffer.write(os.read(terminal, 65536))
            except OSError:
                pass
        if sent is None and subprocess.run(options.when, shell=True, check=False).returncode == 0:
            if options.ctrl_c:
                os.write(terminal, b"\x03")
            else:
                os.kill(pyshm_run_below(pid), signal.SIGTERM)
            sent = time.monotonic()
            limit = sent + 30 * load()
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            ended = time.monotonic()
        elif time.monotonic() > limit:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            print("interrupt.py: the command did not end", flush=True)
            return 1 if sent else 2
    if sent is None:
        print("interrupt.py: the command ended before --when succeeded", flush=True)
        return 2
    seconds = ended - sent
    print(f"\ninterrupt.py: ended after {seconds:.1f} s, status {os.waitstatus_to_exitcode(status)}", flush=True)
    return 0 if seconds <= options.within * load() else 1


if __name__ == "__main__":
    sys.exit(main())
