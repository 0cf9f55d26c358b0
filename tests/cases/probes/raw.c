/* Makes system calls by number. */
#include "probe.h"
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

/* Prints the names that getdents64 gives, and whether each has the inode number and type of lstat. */
static void entries(int fd, const char *path) {
    char buffer[4096], *names[64];
    int n = 0, right = 0;
    for (long length; (length = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;)
        for (char *at = buffer; at < buffer + length;) {
            struct dirent *entry = (struct dirent *)at;
            struct stat s;
            char name[8192];
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            right += !lstat(name, &s) && s.st_ino == entry->d_ino && entry->d_type == IFTODT(s.st_mode);
            names[n++] = strdup(entry->d_name);
            at += entry->d_reclen;
        }
    qsort(names, n, sizeof *names, by_text);
    for (int i = 0; i < n; i++)
        printf(" %s", names[i]);
    say(": %d names, right all %d", n, right == n);
}

PROBE(reading) {
    struct stat s, t;
    struct statx x;
    struct statfs f;
    struct open_how how = {.flags = O_RDONLY};
    char to[64] = {0};
    CONTENTS(syscall(SYS_openat, AT_FDCWD, P("a"), O_RDONLY));
    CONTENTS(syscall(SYS_openat2, AT_FDCWD, P("d/b"), &how, sizeof how));
    int d = OPEN(syscall(SYS_openat, AT_FDCWD, P("full"), O_RDONLY | O_DIRECTORY));
    CONTENTS(syscall(SYS_openat, d, "1", O_RDONLY));
    CONTENTS(syscall(SYS_openat2, d, "2", &how, sizeof how));
    entries(d, P("full"));
    int fd = OPEN(syscall(SYS_openat, AT_FDCWD, P("a"), O_RDONLY));
    CALL(stat(P("a"), &s));
    CALL(syscall(SYS_newfstatat, AT_FDCWD, P("a"), &t, 0));
    say("one file %d", same(&s, &t));
    CALL(syscall(SYS_newfstatat, fd, "", &t, AT_EMPTY_PATH));
    say("one file %d", same(&s, &t));
    CALL(syscall(SYS_fstat, fd, &t));
    say("one file %d", same(&s, &t));
    CALL(syscall(SYS_statx, AT_FDCWD, P("a"), 0, STATX_ALL, &x));
    say("one file %d", x.stx_ino == s.st_ino && x.stx_size == (unsigned long)s.st_size);
    CALL(syscall(SYS_faccessat, AT_FDCWD, P("a"), R_OK));
    CALL(syscall(SYS_faccessat2, AT_FDCWD, P("a"), X_OK, AT_EACCESS));
    CALL(syscall(SYS_readlinkat, AT_FDCWD, P("to-a"), to, sizeof to));
    say("%s", to);
    CALL(syscall(SYS_statfs, P("a"), &f));
    CALL(syscall(SYS_fcntl, fd, F_GETFL));
    CALL(syscall(SYS_newfstatat, AT_FDCWD, P("nope"), &t, 0));
    CALL(syscall(SYS_openat, AT_FDCWD, P("nope"), O_RDONLY));
    CALL(syscall(SYS_openat2, AT_FDCWD, P("nope"), &how, sizeof how));
    CALL(syscall(SYS_statx, AT_FDCWD, P("nope"), 0, STATX_ALL, &x));
    CALL(syscall(SYS_faccessat2, AT_FDCWD, P("nope"), F_OK, 0));
    CALL(syscall(SYS_openat, AT_FDCWD, NULL, O_RDONLY));
    CALL(syscall(SYS_openat2, AT_FDCWD, B("out"), NULL, sizeof how));
    CALL(syscall(SYS_openat2, AT_FDCWD, B("out"), &how, 3));
#ifdef SYS_open
    CONTENTS(syscall(SYS_open, P("a"), O_RDONLY));
    CALL(syscall(SYS_stat, P("a"), &t));
    say("one file %d", same(&s, &t));
    CALL(syscall(SYS_lstat, P("to-a"), &t));
    say("a link %d", S_ISLNK(t.st_mode));
    CALL(syscall(SYS_access, P("a"), R_OK));
    CALL(syscall(SYS_readlink, P("to-d"), to, 1));
    CALL(syscall(SYS_access, P("nope"), R_OK));
#endif
    errno = 77;
    syscall(SYS_newfstatat, AT_FDCWD, P("a"), &t, 0);
    say("errno is kept %d", errno == 77);
}

/* Prints the attributes of a file. The modification time is printed only if the probe did not set it to the present. */
static void state(const char *path) {
    struct stat s;
    lstat(path, &s);
    printf("  mode %o links %d size %ld", s.st_mode, (int)s.st_nlink, S_ISDIR(s.st_mode) ? 0 : (long)s.st_size);
    if (s.st_mtim.tv_sec < 1500000000)
        printf(" changed %ld.%09ld", s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    say("");
}

PROBE(writing) {
    struct timespec times[2] = {{1000000007, 5}, {1000000009, 6}};
    struct open_how how = {.flags = O_WRONLY | O_CREAT, .mode = 0640, .resolve = RESOLVE_BENEATH};
    int d = open(P("d"), O_RDONLY | O_DIRECTORY), a = open(P("a"), O_RDONLY);
    int fd = OPEN(syscall(SYS_openat2, d, "beneath", &how, sizeof how));
    CALL(write(fd, "new\n", 4));
    close(fd);
    state(P("d/beneath"));
    CONTENTS(open(P("d/beneath"), O_RDONLY));
    CALL(syscall(SYS_openat2, d, "../a", &how, sizeof how));
    CONTENTS(syscall(SYS_openat, d, "made", O_RDWR | O_CREAT, 0600));
    state(P("d/made"));
    CALL(syscall(SYS_mkdirat, AT_FDCWD, P("x"), 0750));
    state(P("x"));
    CALL(syscall(SYS_fchmodat, AT_FDCWD, P("a"), 0600));
    state(P("a"));
    CALL(syscall(SYS_fchmod, a, 0604));
    state(P("a"));
    CALL(syscall(SYS_utimensat, a, NULL, times, 0));
    state(P("a"));
    CALL(syscall(SYS_utimensat, AT_FDCWD, P("d/b"), times, 0));
    state(P("d/b"));
    CALL(syscall(SYS_fchownat, a, "", -1, -1, AT_EMPTY_PATH));
    CALL(syscall(SYS_linkat, AT_FDCWD, P("a"), AT_FDCWD, P("x/a"), 0));
    CALL(syscall(SYS_symlinkat, "a", AT_FDCWD, P("x/to-a")));
    CALL(syscall(SYS_renameat2, AT_FDCWD, P("x/a"), AT_FDCWD, P("x/b"), 0));
    CALL(syscall(SYS_truncate, P("d/b"), 2L));
    CONTENTS(open(P("d/b"), O_RDONLY));
    listing(P("x"));
    entries(open(P("x"), O_RDONLY), P("x"));
    CALL(syscall(SYS_unlinkat, AT_FDCWD, P("a"), 0));
    CALL(access(P("a"), F_OK));
    CALL(syscall(SYS_unlinkat, d, "sub/c", 0));
    CALL(syscall(SYS_unlinkat, d, "sub", AT_REMOVEDIR));
    entries(d, P("d"));
    CALL(chdir("/"));
    CALL(syscall(SYS_fchdir, d));
    say("%s", getcwd(NULL, 0));
}

/* Calls openat2 with rules for resolving the path. The kernel must resolve the path from the original directory. */
PROBE(resolved) {
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT};
    struct stat s, t;
    int d = open(P("d"), O_RDONLY | O_DIRECTORY);
    int fd = OPEN(syscall(SYS_openat2, d, "/b", &how, sizeof how));
    CALL(fstat(fd, &s));
    CALL(stat(P("d/b"), &t));
    say("one file %d", same(&s, &t));
    contents(fd);
    how.resolve = RESOLVE_NO_SYMLINKS;
    OPEN(syscall(SYS_openat2, AT_FDCWD, P("to-a"), &how, sizeof how));
}

PROBE(programs) {
    fflush(stdout);
    if (!fork()) {
        char *words[] = {"zero", "x", NULL};
        syscall(SYS_execve, P("bin/tool"), words, environ);
        _exit(1);
    }
    wait(NULL);
    if (!fork()) {
        char *words[] = {"zero", "y", NULL}, *none[] = {NULL};
        syscall(SYS_execveat, open(P("bin/tool"), O_RDONLY), "", words, none, AT_EMPTY_PATH);
        _exit(1);
    }
    wait(NULL);
    CALL(access(P("a"), R_OK));
}

/* Makes calls that concern no path: one with six arguments, some that fail, and one that returns twice. */
PROBE(others) {
    int fd = open(P("a"), O_RDONLY);
    char *text = (char *)syscall(SYS_mmap, NULL, 4096L, PROT_READ, MAP_PRIVATE, fd, 0L);
    say("%.5s", text);
    CALL(syscall(SYS_pread64, fd, (char[8]){0}, 3L, 4L));
    CALL(syscall(SYS_getpid) == getpid());
    CALL(syscall(SYS_close, 12345));
    CALL(syscall(100000));
    CALL(syscall(-1L));
    fflush(stdout);
    long child = syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L);
    if (child == 0)
        _exit(7);
    int status = 0;
    waitpid(child, &status, 0);
    say("a child ends with %d", WEXITSTATUS(status));
}
