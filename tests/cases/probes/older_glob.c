/* Calls the older version of glob that a program gets if it was linked before glibc 2.27. The older version looks up
 * names by stat, the newer version by lstat. */
#include "probe.h"
#include <glob.h>

#ifdef __x86_64__
__asm__(".symver glob, glob@GLIBC_2.2.5");
#else
__asm__(".symver glob, glob@GLIBC_2.17");
#endif

static void found(const char *pattern, int flags, glob_t *g) {
    int status = glob(pattern, flags, NULL, g);
    say("%s: %d", pattern, status);
    for (size_t i = 0; status == 0 && i < g->gl_pathc; i++)
        say("  %s", g->gl_pathv[i]);
}

static int calls;
static void *own_opendir(const char *path) { return calls++, opendir(path); }
static struct dirent *own_readdir(void *d) { return readdir(d); }
static void own_closedir(void *d) { closedir(d); }
static int own_stat(const char *p, struct stat *s) { return calls++, stat(p, s); }

PROBE(globbing) {
    glob_t g;
    const char *const patterns[] = {"dangling", "to-a", "dang*", "a", "*/b", "full/1"};
    for (int i = 0; i < 6; i++) {
        memset(&g, 0xee, sizeof g);
        found(P(patterns[i]), 0, &g);
        memset(&g, 0xee, sizeof g);
        g.gl_opendir = own_opendir;
        g.gl_readdir = own_readdir;
        g.gl_closedir = own_closedir;
        g.gl_stat = own_stat;
        found(P(patterns[i]), GLOB_ALTDIRFUNC, &g);
        say("  gl_lstat kept %d", *(unsigned char *)&g.gl_lstat == 0xee);
    }
    say("the program's own functions were called: %d", calls > 0);
}
