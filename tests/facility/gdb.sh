# gdb: running a program to a breakpoint, examining it, the status of its child, the core dump of a crash
printf '#include <stdio.h>\nint f(int x) {\n  return x * 2;\n}\nint main(void) {\n  int y = f(21);\n  printf("%%d\\n", y);\n  return *(volatile int *)(long)(y - 42);\n}\n' >p.c; gcc -g -o p p.c
gdb -nx -batch -iex 'set debuginfod enabled off' -iex 'set startup-with-shell on' -ex 'break f' -ex run -ex 'print x' -ex backtrace -ex finish -ex continue -ex 'print y' -ex 'info symbol main' ./p 2>&1 </dev/null | grep -v -i 'libthread_db\|^\[\|warning' | sed 's/0x[0-9a-f]*/ADDRESS/g'
