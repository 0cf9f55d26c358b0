/* A library whose constructor makes calls on the tree STRESS_TREE before the shim's constructor runs. STRESS_HOW names
 * what else the constructor does: `threads` starts threads that still run while the program starts, `dlopen` loads a
 * library of the tree, and `system` starts a shell. Compiled with -DPROGRAM, this file is the program into which the
 * library is linked or preloaded. */
#include "common.h"
#include <dlfcn.h>

#ifndef PROGRAM
static void *work(void *number)
{
    unsigned seed = (unsigned)(long)number;
    for (int i = 0; i < 300; i++)
        operate(&seed, next(&seed) % ALL, 0);
    return NULL;
}

__attribute__((constructor)) static void early(void)
{
    const char *where = getenv("STRESS_TREE"), *how = getenv("STRESS_HOW");
    if (!where || !how)
        return;
    learn(where);
    unsigned seed = getpid();
    if (strcmp(how, "threads") == 0) {
        for (long i = 0; i < 4; i++) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, work, (void *)i) == 0, "thread");
            pthread_detach(thread);
        }
    }
    if (strcmp(how, "dlopen") == 0) {
        char name[256];
        snprintf(name, sizeof name, "%s/lib/libnumber1.so", where);
        void *lib = dlopen(name, RTLD_NOW);
        CHECK(lib != NULL, "%s", dlerror());
        int (*number)(void) = (int (*)(void))dlsym(lib, "number");
        CHECK(number && number() == 1, "%s", name);
        Dl_info info;
        CHECK(dladdr(number, &info) && strcmp(info.dli_fname, name) == 0, "%s is called %s", name, info.dli_fname);
        snprintf(name, sizeof name, "%s/lib/missing.so", where);
        CHECK(dlopen(name, RTLD_NOW) == NULL && strstr(dlerror(), name), "%s", name);
        done(2);
    }
    for (int i = 0; i < ALL; i++)
        operate(&seed, i, 0);
    /* Some libraries start a program when they are loaded. The shell loads this library too, so STRESS_HOW is unset:
     * the shell must not start another shell. */
    char command[512];
    snprintf(command, sizeof command, "read x <%s/d1/f2 && test \"$x\" = d1/f2", where);
    if (strcmp(how, "system") == 0) {
        unsetenv("STRESS_HOW");
        CHECK(system(command) == 0, "%s", command);
    }
}
#else
int main(int argc, char **argv)
{
    begin(argc, argv, 1);
    unsigned seed = 5;
    for (int i = 0; i < 200; i++)
        operate(&seed, next(&seed) % ALL, 0);
    return finish();
}
#endif
