/* A program that reads and writes files of the prefix, and prints the results. It is linked statically or with musl. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static void reads(const char *name) {
    char text[64];
    int fd = open(name, O_RDONLY);
    long n = fd < 0 ? -1 : read(fd, text, sizeof text);
    printf("%.*s%s\n", n < 0 ? 0 : (int)n, text, n < 0 ? strerror(errno) : "");
    close(fd);
}
int main(void) {
    char a[4096], made[4096];
    struct stat s;
    snprintf(a, sizeof a, "%s/a", getenv("E"));
    snprintf(made, sizeof made, "%s/made", getenv("E"));
    reads(a);
    reads(made);
    int fd = open(made, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (write(fd, "made\n", 5) != 5 || fstat(fd, &s))
        return 1;
    close(fd);
    printf("%ld bytes\n", (long)s.st_size);
    reads(made);
    return 0;
}
