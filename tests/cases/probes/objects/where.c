/* A program that prints which library the loader found, and under which name. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
const char *marker(void);
int main(int argc, char **argv) {
    Dl_info info;
    const char *slash = argv[0];
    for (const char *c = slash; *c; c++)
        if (*c == '/')
            slash = c + 1;
    printf("%s: %s", slash, marker());
    if (argc > 1 && dladdr((void *)marker, &info))
        printf(" in %s", info.dli_fname);
    puts("");
    return 0;
}
