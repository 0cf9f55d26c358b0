/* Calls the functions that _FORTIFY_SOURCE renames. Flags and sizes are volatile to hide them from the compiler. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile int read_only = O_RDONLY, small = 5;
static void contents(const char *what, int fd) {
    char text[64];
    long n = fd < 0 ? -1 : read(fd, text, small + 40);
    printf("%s: %.*s\n", what, n < 0 ? 0 : (int)n, n < 0 ? "" : text);
    if (fd < 0)
        printf("  %s\n", strerror(errno));
    close(fd);
}
int main(void) {
    char name[PATH_MAX], canonical[PATH_MAX], text[64];
    const char *E = getenv("E");
    int directory = open(E, O_RDONLY | O_DIRECTORY);
    snprintf(name, sizeof name, "%s/a", E);
    contents("open", open(name, read_only));
    contents("open64", open64(name, read_only));
    contents("openat", openat(directory, "d/b", read_only));
    contents("openat64", openat64(directory, "d/sub/../b", read_only));
    snprintf(name, sizeof name, "%s/nope", E);
    contents("missing", open(name, read_only));
    snprintf(name, sizeof name, "%s/abs-to-b", E);
    long n = readlink(name, text, small);
    printf("readlink: %ld %.*s\n", n, (int)n, text);
    n = readlinkat(directory, "abs-to-b", text, small);
    printf("readlinkat: %ld %.*s\n", n, (int)n, text);
    printf("realpath: %s\n", realpath(name, canonical));
    if (chdir(E) == 0)
        printf("getcwd: %s\n", getcwd(canonical, small + 4000));
    return 0;
}
