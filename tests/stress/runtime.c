/* runtime TREE: a C program without the compiler's runtime library. The program loads a C++ extension of the tree, whose
 * libgcc_s lies beside the extension. It prints which libgcc_s the extension got, and how many other ones are mapped. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
    char name[512], line[1024];
    if (argc < 2) return 2;
    snprintf(name, sizeof name, "%s/lib/libextension.so", argv[1]);
    void *lib = dlopen(name, RTLD_NOW);
    if (!lib) return printf("%s\n", dlerror()), 1;
    ((void (*)(void))dlsym(lib, "catches_its_own"))();
    Dl_info info;
    void *raise = dlsym(lib, "_Unwind_RaiseException");
    printf("runtime %s\n", raise && dladdr(raise, &info) ? info.dli_fname : "(nowhere)");
    FILE *maps = fopen("/proc/self/maps", "r");
    int others = 0;
    while (fgets(line, sizeof line, maps))
        others += strstr(line, "/libgcc_s") && !strstr(line, argv[1]);
    printf("others %d\ncalls 1 answered 1\n", others);
    return 0;
}
