# strace: the calls of a program and of the program's children, and strace's own exit status
strace -f -o log sh -c '/bin/true; exit 4'; echo $?; grep -c execve log; strace -c -o counts /bin/true; grep -c total counts; strace -e trace=chdir -o log sh -c 'cd /'; cat log | grep chdir
