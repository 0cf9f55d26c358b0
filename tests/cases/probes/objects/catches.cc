/* Catches exceptions that a linked and a loaded library throw, and prints which C++ run-time libraries are loaded. */
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <stdexcept>
extern "C" void throws(const char *text, int *destroyed);
static int print(struct dl_phdr_info *info, size_t, void *) {
    if (strstr(info->dlpi_name, "libgcc_s") || strstr(info->dlpi_name, "libstdc++") || strstr(info->dlpi_name, "libthrows"))
        printf("loaded %s\n", info->dlpi_name);
    return 0;
}
static void attempt(const char *what, void (*function)(const char *, int *)) {
    int destroyed = 0;
    try {
        function(what, &destroyed);
    } catch (const std::exception &error) {
        printf("caught %s, destroyed %d\n", error.what(), destroyed);
    }
}
int main(int argc, char **argv) {
    attempt("from a linked library", throws);
    for (int i = 1; i < argc; i++) {
        void *handle = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
        if (!handle) {
            printf("%s\n", dlerror());
            continue;
        }
        attempt("from a loaded library", (void (*)(const char *, int *))dlsym(handle, "throws"));
        printf("within %d\n", ((int (*)(void))dlsym(handle, "catches_itself"))());
    }
    dl_iterate_phdr(print, nullptr);
    return 0;
}
