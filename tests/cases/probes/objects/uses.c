/* Linked with a library, without a word about where it lies: LD_LIBRARY_PATH says it. */
#include <stdio.h>
#include <stdlib.h>
const char *marker(void);
int main(void) {
    const char *path = getenv("LD_LIBRARY_PATH");
    printf("%s; LD_LIBRARY_PATH is %s\n", marker(), path ? path : "unset");
    return 0;
}
