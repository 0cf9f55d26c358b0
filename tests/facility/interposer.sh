# a profiler that counts calls of open, fopen and stat as darshan does, in front of the shim and behind the shim: the profiler counts the same calls as without the shim
cat >i.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int opens, fopens, stats;
static int ours(const char *p) { return p && strstr(p, "counted") != NULL; }
int open(const char *p, int f, ...) { static int (*real)(const char *, int, ...); va_list l; va_start(l, f); int m = va_arg(l, int); va_end(l); if (!real) real = dlsym(RTLD_NEXT, "open"); opens += ours(p); return real(p, f, m); }
FILE *fopen(const char *p, const char *m) { static FILE *(*real)(const char *, const char *); if (!real) real = dlsym(RTLD_NEXT, "fopen"); fopens += ours(p); return real(p, m); }
int stat(const char *p, struct stat *s) { static int (*real)(const char *, struct stat *); if (!real) real = dlsym(RTLD_NEXT, "stat"); stats += ours(p); return real(p, s); }
__attribute__((destructor)) static void report(void) { if (opens + fopens + stats) dprintf(1, "%d opens, %d fopens, %d stats\n", opens, fopens, stats); }
C
printf '#include <fcntl.h>\n#include <stdio.h>\n#include <sys/stat.h>\n#include <unistd.h>\nint main(void) { struct stat s; for (int i = 0; i < 3; i++) close(open("counted", O_RDONLY)); fclose(fopen("counted", "r")); stat("counted", &s); return stat("counted-not", &s) + 1; }\n' >p.c; : >counted
gcc -w -shared -fPIC -o i.so i.c -ldl && gcc -w -o p p.c || exit 1
for with in "$PWD/i.so${LD_PRELOAD:+:$LD_PRELOAD}" "${LD_PRELOAD:+$LD_PRELOAD:}$PWD/i.so" "$PWD/i.so${LD_PRELOAD:+ $LD_PRELOAD}" "${LD_PRELOAD:+$LD_PRELOAD }$PWD/i.so"; do LD_PRELOAD=$with ./p; echo $?; LD_PRELOAD=$with sh -c 'exec ./p'; done
