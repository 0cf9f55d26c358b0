/* Makes calls on / that the shim has hooks for. The program is linked to a C library that is not glibc, and must get the same
 * results with the shim and without. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

extern char **environ;
static int visited;
static int visit(const char *name, const struct stat *s, int kind, struct FTW *at) {
    visited += kind * 100 + at->level;
    return 0;
}
static int is_program(const struct dirent *e) { return strstr(e->d_name, "sh") != NULL; }
static void *reads(void *name) {
    for (int i = 0; i < 200; i++) {
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return "failed";
        close(fd);
    }
    return "read";
}

int main(void) {
    char line[256], made[] = "/tmp/made.XXXXXX", directory[] = "/tmp/dir.XXXXXX", other[64];
    struct stat s;
    struct statvfs v;
    int fd = open("/where", O_RDONLY), rest;
    printf("open %zd", read(fd, line, 4));
    int failed = fstat(fd, &s);
    printf(", fstat %d %ld, fcntl %d, ioctl %d", failed, (long)s.st_size, fcntl(fd, F_GETFD), ioctl(fd, FIONREAD, &rest));
    FILE *file = fopen("/where", "r");
    printf(", fopen %s", fgets(line, sizeof line, file));
    failed = open("/missing", O_RDONLY);
    printf("missing %d %s; ", failed, strerror(errno));
    failed = lstat("/bin/sh", &s);
    printf("lstat %d %o, stat %d, access %d %d, statvfs %d\n", failed, s.st_mode, stat("/bin/sh", &s), access("/where", R_OK),
           access("/missing", F_OK), statvfs("/", &v));
    memset(line, 0, sizeof line);
    readlink("/bin/sh", line, 200);
    printf("readlink %s, realpath %s\n", line, realpath("/bin/../where", NULL));
    DIR *dir = opendir("/bin");
    int entries = 0;
    while (readdir(dir)) entries++;
    rewinddir(dir);
    printf("readdir %d, dirfd %d, ", entries, dirfd(dir) > 2);
    printf("closedir %d\n", closedir(dir));
    struct dirent **found;
    printf("scandir %d\n", scandir("/bin", &found, is_program, alphasort));
    glob_t matches;
    failed = glob("/b*n/s*", GLOB_MARK, NULL, &matches);
    printf("glob %d %zu\n", failed, matches.gl_pathc);
    wordexp_t words;
    failed = wordexp("/bin/s* x", &words, 0);
    printf("wordexp %d %zu\n", failed, words.we_wordc);
    failed = nftw("/bin", visit, 8, FTW_PHYS);
    printf("nftw %d %d\n", failed, visited);
    fd = mkstemp(made);
    mkdtemp(directory);
    snprintf(other, sizeof other, "%s/renamed", directory);
    printf("write %zd, ", write(fd, "12345", 5));
    printf("rename %d, ", rename(made, other));
    printf("chmod %d, truncate %d, ", chmod(other, 0600), truncate(other, 3));
    printf("unlink %d, ", unlink(other));
    printf("rmdir %d, ", rmdir(directory));
    printf("chdir %d ", chdir("/bin"));
    printf("getcwd %s\n", getcwd(line, sizeof line));
    printf("syscall %ld\n", syscall(SYS_faccessat, AT_FDCWD, "sh", X_OK));
    printf("dlopen %d %d\n", dlopen(NULL, RTLD_NOW) != NULL, dlopen("/missing.so", RTLD_NOW) == NULL);
    pthread_t threads[4];
    void *result;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, reads, "/where");
    for (int i = 0; i < 4; i++) pthread_join(threads[i], &result), printf("%s ", (char *)result);
    fflush(stdout);
    pid_t pid;
    char *argv[] = {"cat", "/where", NULL};
    if (posix_spawnp(&pid, "cat", NULL, NULL, argv, environ) == 0) waitpid(pid, NULL, 0);
    printf("system %d\n", system("exit 3") >> 8);
    FILE *pipe = popen("echo from a pipe", "r");
    printf("popen %s", fgets(line, sizeof line, pipe));
    printf("pclose %d, LD_PRELOAD is %s\n", pclose(pipe), getenv("LD_PRELOAD") ? "set" : "not set");
    fflush(stdout);
    execlp("sh", "sh", "-c", "echo at the end $0", "of it", NULL);
    return 1;
}
