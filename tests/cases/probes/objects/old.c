/* A program as an old system compiled it: before glibc 2.33 <sys/stat.h> turned stat into calls of these functions. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define OLD(name, version) __asm__(".symver " #name "," #name "@GLIBC_" version)
OLD(__xstat64, "2.2.5");
OLD(__lxstat64, "2.2.5");
OLD(__fxstat64, "2.2.5");
OLD(__fxstatat64, "2.4");
OLD(__xstat, "2.2.5");
int __xstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *);
int __lxstat64(int, const char *, struct stat64 *);
int __fxstat64(int, int, struct stat64 *);
int __fxstatat64(int, int, const char *, struct stat64 *, int);
int main(void) {
    char name[4096];
    struct stat64 s;
    const char *E = getenv("E");
    for (const char *const *p = (const char *const[]){"a", "to-a", "d", "dangling", "nope", "a/x", NULL}; *p; p++) {
        snprintf(name, sizeof name, "%s/%s", E, *p);
#define SHOW(call) (memset(&s, 0, sizeof s), call ? printf("%s %s: %s\n", #call, *p, strerror(errno)) : printf("%s %s: %o %ld %ld\n", #call, *p, s.st_mode, S_ISDIR(s.st_mode) ? 0 : (long)s.st_size, s.st_mtim.tv_nsec))
        SHOW(__xstat64(1, name, &s));
        SHOW(__lxstat64(1, name, &s));
        SHOW(__xstat(1, name, (struct stat *)&s));
        SHOW(__fxstatat64(1, AT_FDCWD, name, &s, AT_SYMLINK_NOFOLLOW));
    }
    snprintf(name, sizeof name, "%s/a", E);
    const char *const *p = (const char *const[]){"a"};
    int fd = open(name, O_RDONLY);
    SHOW(__fxstat64(1, fd, &s));
    return 0;
}
