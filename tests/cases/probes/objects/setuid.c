/* Prints whether the shim is loaded, whether LD_PRELOAD is set, and the content of files. The case makes this program
 * setuid. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char line[8192];
    int shims = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        shims += strstr(line, "libpyshm.so") != NULL;
    printf("secure %d, shim %d, LD_PRELOAD %s\n", (int)getauxval(AT_SECURE), shims, getenv("LD_PRELOAD") ? "set" : "unset");
    for (int i = 1; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY);
        long n = read(fd, line, sizeof line);
        printf("%s: %.*s", argv[i], n < 0 ? 0 : (int)n, line);
        close(fd);
    }
    return 0;
}
