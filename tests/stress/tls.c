/* Compiled with -DSIZE, this file is a library with SIZE bytes of thread-local storage in the initial-exec model.
 * Compiled without -DSIZE, it is the program `tls LIBRARY…`. The program is linked to one such library, loads each
 * LIBRARY and prints whether the load succeeded. The output must be the same with the shim and without. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#ifdef SIZE
static __thread char storage[SIZE] __attribute__((tls_model("initial-exec")));
int use(void) { memset(storage, 1, sizeof storage); return storage[SIZE - 1]; }
#else
int use(void);
int main(int argc, char **argv)
{
    printf("linked %d\n", use());
    for (int i = 1; i < argc; i++) {
        void *lib = dlopen(argv[i], RTLD_NOW);
        int (*used)(void) = lib ? (int (*)(void))dlsym(lib, "use") : 0;
        printf("loaded %d %s\n", used ? used() : -1, lib ? "" : dlerror());
    }
    printf("calls %d answered %d\n", argc, argc - 1);
}
#endif
