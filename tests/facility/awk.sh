# awk: files, pipes for reading and for writing, system, getline
seq 100 >n; awk '{ s += $1; print > "out" ($1 % 2) } END { print s; "echo piped" | getline x; print x; print "sorted" | "sort"; close("sort"); r = system("exit 3"); print r; while ((getline l < "n") > 0) c++; print c, (getline y < "missing") }' n; wc -l out0 out1; awk 'BEGIN { exit 4 }'; echo $?
