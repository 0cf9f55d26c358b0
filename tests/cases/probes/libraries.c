/* Loads libraries again after their files changed and by other names, in scopes and namespaces of their own. */
#include "probe.h"
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <utime.h>

int shared_name(void) { return 2; }

static void *opened(const char *name, int mode) {
    void *handle = dlopen(name, mode);
    if (!handle)
        say("  %s", dlerror());
    return handle;
}

static int bumped(void *handle) {
    int (*bump)(void) = handle ? (int (*)(void))dlsym(handle, "bump") : NULL;
    return bump ? bump() : -1;
}

static void copy(const char *from, const char *to) {
    char bytes[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    long n = read(in, bytes, sizeof bytes);
    say("  copied %d", write(out, bytes, n) == n);
    close(in);
    close(out);
}

/* Loads lib/libN.so, changes its file, and loads it again by the same name. */
#define AGAIN(n, change)                                                                                               \
    ({                                                                                                                 \
        const char *name = P("lib/lib" #n ".so");                                                                      \
        void *first = opened(name, RTLD_NOW);                                                                          \
        bumped(first);                                                                                                 \
        change;                                                                                                        \
        void *second = opened(name, RTLD_NOW);                                                                         \
        say(#n ": the same %d, count %d", first == second, bumped(second));                                            \
        say("  loaded only %d", opened(name, RTLD_NOW | RTLD_NOLOAD) == first);                                        \
    })

PROBE(after_changes) {
    struct utimbuf then = {1, 1};
    AGAIN(mode, chmod(name, 0700));
    AGAIN(times, utime(name, &then));
    AGAIN(linked, link(name, P("lib/liblinked.so.1")));
    say("by its new link: count %d", bumped(opened(P("lib/liblinked.so.1"), RTLD_NOW)));
    AGAIN(renamed, (rename(name, P("lib/libmoved.so")), rename(P("lib/libmoved.so"), name)));
    AGAIN(moved, rename(name, P("lib/libthere.so")));
    say("where it is now: count %d", bumped(opened(P("lib/libthere.so"), RTLD_NOW)));
    AGAIN(replaced, (copy(name, P("lib/new.so")), rename(P("lib/new.so"), name)));
    AGAIN(removed, unlink(name));
    AGAIN(made_again, (copy(name, P("lib/newer.so")), unlink(name), copy(P("lib/newer.so"), name)));
    say("a copy: count %d", bumped(opened(P("lib/newer.so"), RTLD_NOW)));
    void *closed = opened(P("lib/libclosed.so"), RTLD_NOW);
    bumped(closed);
    dlclose(closed);
    chmod(P("lib/libclosed.so"), 0700);
    say("closed and changed: count %d", bumped(opened(P("lib/libclosed.so"), RTLD_NOW)));
}

PROBE(other_names) {
    void *first = opened(P("lib/libone.so"), RTLD_NOW);
    const char *names[] = {P("lib//libone.so"),   P("lib/../lib/./libone.so"), P("lib64/libone.so"),      P("plugins/libone.so"),
                           P("lib/libhard.so"),   B("alias/lib/libone.so"),    B("out/libone.so.1"),      B("out/../env/lib/libone.so"),
                           B("out/libone.so.2"),   NULL};
    for (const char **name = names; *name; name++) {
        void *handle = opened(*name, RTLD_NOW);
        say("%s: the same %d, count %d", *name + strlen(M), handle == first, bumped(handle));
    }
    void *edited = opened(P("lib/libedited.so"), RTLD_NOW);
    say("a name of an edited file: the same %d", opened(P("lib/sub/libedited.so"), RTLD_NOW) == edited);
    CALL(chdir(P("lib")));
    say("relative: the same %d", opened("./libone.so", RTLD_NOW) == first);
}

/* Prints the name of a library by the address of its function. */
PROBE(spellings) {
    const char *names[] = {P("lib/libone.so"), P("lib//./libtwo.so"), P("lib64/libthree.so"), P("lib/../plugins/libfour.so"), P("out/libsix.so"), P("far/libseven.so"), NULL};
    for (const char **name = names; *name; name++) {
        void *handle = opened(*name, RTLD_NOW);
        void *function = handle ? dlsym(handle, "bump") : NULL;
        Dl_info info;
        char origin[4096] = "";
        say("%s: %s", *name, function && dladdr(function, &info) ? info.dli_fname : "unknown");
        say("  origin %s", handle && !dlinfo(handle, RTLD_DI_ORIGIN, origin) ? origin : "unknown");
    }
}

typedef int put_t(const char *, const char *);
typedef const char *get_t(const char *);

/* Calls the functions of a plug-in, and prints what the program sees of what it wrote. */
static void uses(void *handle, const char *file) {
    if (!handle) {
        say("  %s", dlerror());
        return;
    }
    put_t *put = (put_t *)dlsym(handle, "put");
    get_t *get = (get_t *)dlsym(handle, "get");
    int (*whose)(void) = (int (*)(void))dlsym(handle, "whose");
    say("  reads %s", get(P("a")));
    say("  its own function %d", whose());
    CALL(put(P(file), "new\n"));
    char text[64] = "";
    int fd = open(P(file), O_RDONLY);
    say("  program reads %d %s", (int)read(fd, text, sizeof text - 1), text);
    close(fd);
    say("  plug-in reads %s", get(P(file)));
    CALL(put(P("made-by-it"), "made\n"));
    CALL(access(P("made-by-it"), F_OK));
    CALL(unlink(P("made-by-it")));
    CALL(put(P("nope/made"), ""));
}

PROBE(deep) {
    setenv("PUT", P("lib/constructed"), 1);
    void *handle = dlopen(P("lib/libplugin.so"), RTLD_NOW | RTLD_DEEPBIND);
    uses(handle, "d/b");
    CALL(access(P("lib/constructed"), F_OK));
    CALL(dlclose(handle));
    say("gone %d", dlopen(P("lib/libplugin.so"), RTLD_NOW | RTLD_NOLOAD) == NULL);
    unsetenv("PUT");
    uses(dlopen(B("out/libplugin.so"), RTLD_LAZY | RTLD_DEEPBIND | RTLD_GLOBAL), "d/sub/c");
    say("global %d", dlsym(RTLD_DEFAULT, "whose") != NULL);
    say("missing: %s", dlopen(P("lib/libnope.so"), RTLD_NOW | RTLD_DEEPBIND) ? "found" : dlerror());
    say("missing: %s", dlopen("libnope.so", RTLD_NOW | RTLD_DEEPBIND) ? "found" : dlerror());
    say("damaged: %s", dlopen(P("a"), RTLD_NOW | RTLD_DEEPBIND) ? "found" : dlerror());
    void *again = dlopen(B("out/libplugin.so"), RTLD_NOW | RTLD_DEEPBIND);
    say("again %d", again == dlopen(B("out/libplugin.so"), RTLD_NOW));
    /* Nothing but the libraries that the program asked for stays. */
    int proc = 0;
    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        proc += strncmp(map->l_name, "/proc/", 6) == 0;
    say("others %d", proc);
}

PROBE(spaces) {
    uses(dlmopen(LM_ID_NEWLM, P("lib/libplugin.so"), RTLD_NOW), "d/b");
    void *handle = dlmopen(LM_ID_NEWLM, B("out/libplugin.so"), RTLD_NOW);
    uses(handle, "d/sub/c");
    Lmid_t space;
    CALL(dlinfo(handle, RTLD_DI_LMID, &space));
    uses(dlmopen(space, P("lib/libsame.so"), RTLD_NOW), "lib/os.py");
    uses(dlmopen(LM_ID_NEWLM, P("lib/libplugin.so"), RTLD_NOW | RTLD_DEEPBIND), "full/1");
    say("missing: %s", dlmopen(LM_ID_NEWLM, P("lib/libnope.so"), RTLD_NOW) ? "found" : dlerror());
    say("global: %s", dlmopen(LM_ID_NEWLM, P("lib/libplugin.so"), RTLD_NOW | RTLD_GLOBAL) ? "found" : dlerror());
    for (int i = 0; i < 40; i++) {
        handle = dlmopen(LM_ID_NEWLM, P("lib/libplugin.so"), RTLD_NOW);
        if (!handle || dlclose(handle)) {
            say("%d: %s", i, dlerror());
            break;
        }
    }
    uses(dlmopen(LM_ID_NEWLM, P("lib/libplugin.so"), RTLD_NOW), "full/2");
    uses(dlmopen(LM_ID_BASE, P("lib/libplugin.so"), RTLD_NOW), "full/3");
}

/* Prints a text up to the addresses, which differ. */
static void without_addresses(char *text) {
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *end = strchr(line, '[');
        say("  %.*s", end ? (int)(end - line) : (int)strlen(line), line);
    }
}

PROBE(backtraces) {
    void *frames[16];
    void *handle = opened(P("lib/libplugin.so"), RTLD_NOW);
    void *other = opened(P("lib64/libsame.so"), RTLD_NOW);
    frames[0] = dlsym(handle, "put");
    frames[1] = (char *)dlsym(handle, "whose") + 1;
    frames[2] = dlsym(other, "get");
    frames[3] = dlsym(RTLD_DEFAULT, "malloc");
    frames[4] = (void *)16;
    struct link_map *map = handle;
    frames[5] = (char *)map->l_addr + 64;
    char **texts = backtrace_symbols(frames, 6);
    for (int i = 0; i < 6; i++)
        without_addresses(texts[i]);
    free(texts);
    int ends[2];
    CALL(pipe(ends));
    backtrace_symbols_fd(frames, 6, ends[1]);
    char text[65536] = "";
    CALL(read(ends[0], text, sizeof text - 1) > 0);
    without_addresses(text);
    int (*trace)(void **, int) = (int (*)(void **, int))dlsym(handle, "trace");
    texts = backtrace_symbols(frames, trace(frames, 16));
    without_addresses(texts[0]);
    backtrace_symbols_fd(frames, 1, -1);
}
