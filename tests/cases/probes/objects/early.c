/* A constructor that looks at the prefix: it may run before the shim's own. */
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
/* As a preloaded library it says it by itself. */
__attribute__((destructor)) static void late(void) {
    if (getenv("E"))
        dprintf(1, "%s\n", seen);
}
