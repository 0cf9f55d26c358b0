# static programs: with glibc, busybox, and one without a C library that makes its own system calls, as Go programs do
printf '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { FILE *f = fopen("text", "r"); char b[9]; printf("%%s", fgets(b, 9, f)); fflush(stdout); return system("cat text") + 3; }\n' >p.c; echo text >text; gcc -static -w -o p p.c && ./p; echo $?
busybox sh -c 'cat text; ls | wc -l; awk "BEGIN { print 6 * 7 }"; sh -c "exit 4"; echo $?; /bin/cat text'
cat >q.c <<'C'
static long call(long n, long a, long b, long c) { long r; __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); return r; }
__attribute__((force_align_arg_pointer)) void _start(void) { char b[16]; long f = call(2, (long)"text", 0, 0), n = call(0, f, (long)b, 16); call(1, 1, (long)b, n);
  char *v[] = {"sh", "-c", "cat text; exit 6", 0}; call(59, (long)"/bin/sh", (long)v, (long)(char *[]){"PATH=/usr/bin:/bin", 0}); }
C
gcc -O1 -static -nostdlib -fno-stack-protector -o q q.c && ./q; echo $?
