# perf: counters, recording a profile and reporting it
perf stat -e task-clock -x, -o s true; grep -c task-clock s; perf record -q -e cpu-clock -o d sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done' 2>/dev/null; perf report -i d --stdio --sort comm 2>/dev/null | grep -v '^#' | awk 'NF { print $2 }' | head -n 1; perf script -i d 2>/dev/null | grep -c . | awk '{ print $1 > 0 }'
