# jemalloc and tcmalloc, preloaded in front of the shim and behind it, separated by a space and by a colon
for l in libjemalloc.so.2 libtcmalloc_minimal.so.4; do for with in "$l${LD_PRELOAD:+:$LD_PRELOAD}" "${LD_PRELOAD:+$LD_PRELOAD:}$l" "$l${LD_PRELOAD:+ $LD_PRELOAD}" "${LD_PRELOAD:+$LD_PRELOAD }$l"; do
LD_PRELOAD=$with "$venv/bin/python" -ISc 'import os, threading; f = lambda: [os.listdir("/") for _ in range(50)]; t = [threading.Thread(target=f) for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]; print(sorted(f()[0])[:3], "malloc" in open("/proc/self/maps").read())'
LD_PRELOAD=$with bash -c 'echo {1..5} | wc -w; (exit 3)'; echo $?; done; done
