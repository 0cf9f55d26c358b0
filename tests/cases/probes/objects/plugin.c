/* A plug-in that reads and writes files, also when it is loaded, and can list where it was called from. */
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int put(const char *name, const char *text) {
    FILE *file = fopen(name, "w");
    if (!file)
        return -1;
    fputs(text, file);
    return fclose(file);
}
const char *get(const char *name) {
    static char text[256];
    FILE *file = fopen(name, "r");
    memset(text, 0, sizeof text);
    if (!file)
        return "nothing";
    fread(text, 1, sizeof text - 1, file);
    fclose(file);
    return text;
}
/* The program defines it too. Bound to the library itself where it is loaded with RTLD_DEEPBIND. */
int shared_name(void) { return 1; }
int whose(void) { return shared_name(); }
int trace(void **frames, int most) { return backtrace(frames, most); }
__attribute__((constructor)) static void loaded(void) {
    const char *name = getenv("PUT");
    if (name)
        put(name, "written by the constructor\n");
}
