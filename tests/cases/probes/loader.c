/* Loads libraries, and prints which library the loader chose and which name the loader shows. */
#include "probe.h"
#include <dlfcn.h>
#include <link.h>

static void *loaded(const char *call, void *handle) {
    const char *why = dlerror();
    say("%s: %s", call, handle ? "ok" : why ? why : "no reason");
    return handle;
}
#define LOAD(call) ({ dlerror(); void *handle_ = call; loaded(#call, handle_); })

/* Prints the text that a function of a library returns. */
static void asks(void *handle, const char *function) {
    const char *(*f)(void) = handle ? (const char *(*)(void))dlsym(handle, function) : NULL;
    say("  %s says %s", function, f ? f() : "nothing");
}

static void address_is_in(void *address) {
    Dl_info info;
    struct link_map *map = NULL;
    if (dladdr(address, &info))
        say("  dladdr: %s in %s", info.dli_sname, info.dli_fname);
    if (dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP))
        say("  dladdr1: %s in %s", info.dli_sname, info.dli_fname);
}

static int print_one(struct dl_phdr_info *info, size_t size, void *seen) {
    if (strstr(info->dlpi_name, "/lib/lib") && !strncmp(info->dlpi_name, E, strlen(E)))
        say("  phdr: %s, %d headers", info->dlpi_name, info->dlpi_phnum);
    if (strstr(info->dlpi_name, "/pyshm-") && !strstr(info->dlpi_name, "/libpyshm.so") && strncmp(info->dlpi_name, E, strlen(E)))
        say("  phdr of the stage: %s", info->dlpi_name);
    ++*(int *)seen;
    return 0;
}
static int stop(struct dl_phdr_info *info, size_t size, void *data) { return 42; }

PROBE(every_function) {
    void *handle = LOAD(dlopen(P("lib/libmarker.so"), RTLD_NOW));
    asks(handle, "marker");
    address_is_in(dlsym(handle, "marker"));
    char origin[4096] = "";
    CALL(dlinfo(handle, RTLD_DI_ORIGIN, origin));
    say("  origin %s", origin);
    int seen = 0;
    CALL(dl_iterate_phdr(print_one, &seen));
    CALL(dl_iterate_phdr(stop, NULL));
    say("  some %d", seen > 3);
    void *other = LOAD(dlmopen(LM_ID_NEWLM, P("lib/libmarker.so"), RTLD_NOW));
    asks(other, "marker");
    say("  a space of its own %d", other != handle);
    CALL(dlclose(other));
    say("  loaded once %d", dlopen(P("lib/../lib/libmarker.so"), RTLD_NOW) == handle);
    say("  is loaded %d", dlopen(P("lib/libmarker.so"), RTLD_NOW | RTLD_NOLOAD) == handle);
    say("  by its own name %d", dlopen("libmarker.so", RTLD_NOW) == handle);
    LOAD(dlopen(NULL, RTLD_NOW));
    asks(LOAD(dlopen(P("lib64/libother.so"), RTLD_NOW)), "marker");
    LOAD(dlsym(handle, "no_such_function"));
    say("  no more errors %d", dlerror() == NULL);
}

/* Lets libraries load other libraries by plain names. The loader must use the search path of the library that calls. */
PROBE(by_the_callers_path) {
    static const char *const callers[] = {"lib/libcaller-runpath.so", "lib/libcaller-rpath.so", "lib/libcaller-origin.so", "lib/libcaller-none.so", NULL};
    for (const char *const *name = callers; *name; name++) {
        void *caller = LOAD(dlopen(P(*name), RTLD_NOW));
        void *(*load)(const char *) = caller ? (void *(*)(const char *))dlsym(caller, "load") : NULL;
        void *(*load_apart)(const char *) = caller ? (void *(*)(const char *))dlsym(caller, "load_in_new_space") : NULL;
        if (!load)
            continue;
        say("%s", *name);
        void *handle = LOAD(load("libmarker.so"));
        asks(handle, "marker");
        if (handle) {
            address_is_in(dlsym(handle, "marker"));
            asks(LOAD(load_apart("libmarker.so")), "marker");
            dlclose(handle);
        }
        LOAD(load("libnope.so"));
    }
    asks(LOAD(dlopen(P("lib/libneeds-runpath.so"), RTLD_NOW)), "needed");
    asks(LOAD(dlopen(P("lib/libneeds-rpath.so"), RTLD_NOW)), "needed");
    int seen;
    dl_iterate_phdr(print_one, &seen);
}

PROBE(failures) {
    LOAD(dlopen(P("lib/libnope.so"), RTLD_NOW));
    LOAD(dlopen(P("nope/libnope.so"), RTLD_NOW));
    LOAD(dlmopen(LM_ID_NEWLM, P("lib/libnope.so"), RTLD_NOW));
    LOAD(dlopen("libnope-at-all.so", RTLD_NOW));
    LOAD(dlopen(P("a"), RTLD_NOW));
    LOAD(dlopen(P("bin/script"), RTLD_NOW));
    LOAD(dlopen(P("lib/cut.so"), RTLD_NOW));
    LOAD(dlopen(P("lib/libundefined.so"), RTLD_NOW));
    LOAD(dlopen(P("lib/libneeds-gone.so"), RTLD_NOW));
    LOAD(dlopen(P("bin/show"), RTLD_NOW));
    LOAD(dlopen(P("dangling"), RTLD_NOW));
    LOAD(dlopen("", RTLD_NOW | RTLD_NOLOAD));
    void *handle = dlopen(P("lib/libmarker.so"), RTLD_NOW);
    LOAD(dlsym(handle, "no_such_function"));
    LOAD(dlvsym(handle, "marker", "GLIBC_2.2.5"));
    CALL(dlclose(handle));
}

/* Causes rare errors. For these the shim passes the original path on, and the loader reads the original. */
PROBE(odd_failures) {
    LOAD(dlopen(P("d"), RTLD_NOW));
    LOAD(dlopen(P("loop1"), RTLD_NOW));
    LOAD(dlopen(P("lib/libmarker.so/"), RTLD_NOW));
    LOAD(dlopen(P("a/x.so"), RTLD_NOW));
    CALL(chdir(P("lib")));
    LOAD(dlopen("./libnope.so", RTLD_NOW));
}

PROBE(relative) {
    CALL(chdir(P("lib")));
    asks(LOAD(dlopen("./libmarker.so", RTLD_NOW)), "marker");
    asks(LOAD(dlopen("../lib/libother.so", RTLD_NOW)), "marker");
}

PROBE(search_path) {
    void *handle = dlopen(P("lib/libneeds-runpath.so"), RTLD_NOW);
    Dl_serinfo size, *info;
    CALL(dlinfo(handle, RTLD_DI_SERINFOSIZE, &size));
    info = malloc(size.dls_size + 4096);
    info->dls_size = size.dls_size;
    info->dls_cnt = size.dls_cnt;
    CALL(dlinfo(handle, RTLD_DI_SERINFO, info));
    for (int i = 0; i < info->dls_cnt; i++)
        say("  %s", info->dls_serpath[i].dls_name);
}

PROBE(newer_runtime) {
    asks(LOAD(dlopen(P("lib/libextension.so"), RTLD_NOW)), "needed");
    int seen;
    dl_iterate_phdr(print_one, &seen);
}

/* Loads a library with much thread-local storage. */
PROBE(initial_tls) {
    LOAD(dlopen(P("lib/libtls.so"), RTLD_NOW));
}
