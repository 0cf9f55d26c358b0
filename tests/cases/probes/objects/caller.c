/* A caller of dlopen: what it says about where libraries are counts, not what the program says. */
#define _GNU_SOURCE
#include <dlfcn.h>
void *load(const char *name) {
    void *volatile handle = dlopen(name, RTLD_NOW);
    return handle; /* a variable, so that this is no jump: the caller is this library */
}
void *load_in_new_space(const char *name) {
    void *volatile handle = dlmopen(LM_ID_NEWLM, name, RTLD_NOW);
    return handle;
}
