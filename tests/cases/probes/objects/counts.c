/* A program that is linked with the counting library, and loads the same library by other names. */
#include <dlfcn.h>
#include <stdio.h>
int bump(void);
int main(int argc, char **argv) {
    printf("%d\n", bump());
    for (int i = 1; i < argc; i++) {
        void *handle = dlopen(argv[i], RTLD_NOW);
        int (*function)(void) = handle ? (int (*)(void))dlsym(handle, "bump") : 0;
        printf("%s: %d\n", argv[i], function ? function() : -1);
    }
    return 0;
}
