/* A program that is linked with a library but has no search path: the loader finds the library by LD_LIBRARY_PATH. */
#include <stdio.h>
#include <stdlib.h>
const char *marker(void);
int main(void) {
    const char *path = getenv("LD_LIBRARY_PATH");
    printf("%s; LD_LIBRARY_PATH is %s\n", marker(), path ? path : "unset");
    return 0;
}
