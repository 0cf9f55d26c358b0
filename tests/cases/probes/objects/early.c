/* A library whose constructor reads the prefix. This constructor may run before the constructor of the shim. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static char seen[4096];
const char *what_was_seen(void) { return seen; }
__attribute__((constructor)) static void early(void) {
    const char *E = getenv("E");
    char name[4200], text[64] = "";
    struct stat s;
    if (!E)
        return;
    snprintf(name, sizeof name, "%s/a", E);
    int answer = stat(name, &s), fd = open(name, O_RDONLY);
    long n = read(fd, text, sizeof text - 1);
    close(fd);
    snprintf(name, sizeof name, "%s/nope", E);
    int missing = stat(name, &s), error = errno;
    snprintf(seen, sizeof seen, "constructor: stat %d, read %ld %.5s, missing %d %s", answer, n, text, missing, strerror(error));
}
/* The destructor prints the result, so that the library can also be preloaded into any program. */
__attribute__((destructor)) static void late(void) {
    if (getenv("E"))
        dprintf(1, "%s\n", seen);
}
