/* Thread-local storage of SIZE bytes in the initial-exec model. tls: the library `big` is linked to it, the library of the tree (argv[1]) is loaded:
 * prints whether that works, which must be what it does without the shim. */
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
