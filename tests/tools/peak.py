"""peak.py FILE CMD...: runs CMD and writes the peak memory of its largest process, in kB, to FILE.<node>.

The file keeps the largest value of all runs on the node, because pyshm starts its helper a second time to clean up.
"""
import os
import signal
import socket
import sys

pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda n, _: os.kill(pid, n))
while True:
    try:
        _, status, usage = os.wait4(pid, 0)
        break
    except InterruptedError:
        pass
name = f"{sys.argv[1]}.{socket.gethostname()}"
before = 0
if os.path.exists(name):
    with open(name, encoding="ascii") as file:
        before = int(file.read())
with open(name, "w", encoding="ascii") as file:
    print(max(before, usage.ru_maxrss), file=file)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
