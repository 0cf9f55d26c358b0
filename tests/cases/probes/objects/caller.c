/* A library that calls dlopen. The loader uses the search path of this library, not the search path of the program. */
#define _GNU_SOURCE
#include <dlfcn.h>
void *load(const char *name) {
    void *volatile handle = dlopen(name, RTLD_NOW);
    return handle; /* The variable prevents a tail call, so the return address of dlopen lies in this library. */
}
void *load_in_new_space(const char *name) {
    void *volatile handle = dlmopen(LM_ID_NEWLM, name, RTLD_NOW);
    return handle;
}
