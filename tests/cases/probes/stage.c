/*
 * Damages and removes the stage. A bare run has no stage, and does no damage.
 *
 * The probe starts programs by a system call of its own, so that no hook runs, and with an environment that it makes itself.
 */
#include "probe.h"
#include <dlfcn.h>
#include <ftw.h>
#include <sys/syscall.h>

extern char **environ;

/* The directory of the stage from which the shim was loaded, or an empty text in a bare run. */
static char stage[4096];

__attribute__((constructor)) static void find_stage(void) {
    char line[8192];
    int fd = open("/proc/self/maps", O_RDONLY);
    FILE *maps = fdopen(fd, "r");
    while (maps && fgets(line, sizeof line, maps)) {
        char *end = strstr(line, "/lib/libpyshm.so"), *start = strchr(line, '/');
        if (end && start) {
            snprintf(stage, sizeof stage, "%.*s", (int)(end - start), start);
            break;
        }
    }
    fclose(maps);
}

static const char *S(const char *name) { return name_in(stage, name); }

static long raw(long number, long a, long b, long c) {
    long result;
    register long r10 __asm__("r10") = 0;
#if defined(__x86_64__)
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    result = x0;
#endif
    return result;
}

/* Starts a program with only these variables: E, M, and `preload` and `more` unless they are null. */
static void start(const char *program, const char *word, const char *preload, const char *more) {
    char e[8192], m[8192];
    snprintf(e, sizeof e, "E=%s", E);
    snprintf(m, sizeof m, "M=%s", M);
    const char *environment[5] = {e, m};
    int n = 2;
    if (preload && strcmp(preload, "LD_PRELOAD="))
        environment[n++] = preload;
    if (more)
        environment[n++] = more;
    const char *words[] = {program, word, NULL};
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        dup2(1, 2);
        raw(SYS_execve, (long)program, (long)words, (long)environment);
        _exit(98);
    }
    int status;
    waitpid(child, &status, 0);
    say("  ends with %x", status);
}

static const char *preload_of(const char *before, const char *after) {
    static char text[16384];
    char shim[8192] = "";
    if (*stage)
        snprintf(shim, sizeof shim, "%s/lib/libpyshm.so", stage);
    snprintf(text, sizeof text, "LD_PRELOAD=%s%s%s%s%s", before ? before : "", before && *shim ? ":" : "", shim, after && (before || *shim) ? ":" : "", after ? after : "");
    return text;
}

static const char *self(void) {
    static char name[4096];
    name[readlink("/proc/self/exe", name, sizeof name - 1)] = 0;
    return name;
}

/* Starts this program again with each of LIBRARIES in LD_PRELOAD, first behind the shim, then in front of the shim. */
PROBE(neighbours) {
    const char *libraries = getenv("LIBRARIES");
    char list[8192], *rest = list;
    snprintf(list, sizeof list, "%s", libraries);
    for (char *library; (library = strsep(&rest, " "));) {
        say("before %s", library);
        start(self(), "work", preload_of(NULL, library), NULL);
        say("behind %s", library);
        start(self(), "work", preload_of(library, NULL), NULL);
    }
}

/* Calls functions that allocate memory. Some of these functions are hooked. */
PROBE(work) {
    /* LD_PRELOAD was set by hand here, so the program sees the name of the shim in this variable. */
    unsetenv("LD_PRELOAD");
    for (int i = 0; i < 200; i++) {
        free(realpath(P("to-d/sub/c"), NULL));
        free(canonicalize_file_name(P("a")));
        fclose(fopen(P("a"), "r"));
        closedir(opendir(P("d")));
    }
    say("%s", realpath(P("to-d/sub/c"), NULL));
    CONTENTS(open(P("a"), O_RDONLY));
    CALL(access(P("nope"), F_OK));
    listing(P("full"));
    say("%x", system("cat $E/d/b; $E/bin/show"));
}

/* Reads files, loads a library and starts programs. All this must work without the stage. */
static void everything(void) {
    CONTENTS(open(P("a"), O_RDONLY));
    CONTENTS(open(P("abs-to-b"), O_RDONLY));
    struct stat s;
    CALL(stat(P("d/sub/c"), &s));
    CALL(access(P("nope"), F_OK));
    listing(P("full"));
    say("  %s", realpath(P("to-d"), NULL));
    void *handle = dlopen(P("lib/libmarker.so"), RTLD_NOW);
    const char *why = handle ? "loaded" : dlerror();
    const char *(*marker)(void) = handle ? dlsym(handle, "marker") : NULL;
    say("  %s %s", why, marker ? marker() : "");
    run(P("bin/show"), "1", NULL);
    run(P("bin/script"), "1", NULL);
    setenv("PATH", P("bin"), 1);
    run("show", "1", NULL);
    setenv("PATH", "/usr/bin:/bin", 1);
    say("%x", system("cat $E/a; $E/bin/show; cd $E/d && cat b; ls $E/full"));
    FILE *file = popen("cat $E/d/b", "r");
    char line[64];
    printf("  %s", fgets(line, sizeof line, file));
    CALL(pclose(file));
}

PROBE(works_at_all) { everything(); }

static int remove_one(const char *name, const struct stat *s, int kind, struct FTW *walk) {
    return remove(name) && errno != ENOTEMPTY ? say("  removing %s: %s", name, strerror(errno)), 0 : 0;
}

/* The case reads the counters in the stage's state file at the end. So these functions save the state and write it back. */
static int kept_state = -1;
static void keep_state(void) {
    if (*stage)
        kept_state = open(S("state"), O_RDONLY);
}
static void put_state_back(void) {
    if (!*stage)
        return;
    mkdir(stage, 0700);
    static char bytes[1 << 22];
    long n = pread(kept_state, bytes, sizeof bytes, 0);
    int fd = open(S("state"), O_WRONLY | O_CREAT, 0600);
    if (write(fd, bytes, n) != n)
        say("failed to write the state file back");
}

PROBE(removed_at_once) {
    keep_state();
    int directory = OPEN(open(P("d"), O_RDONLY));
    CONTENTS(open(P("a"), O_RDONLY));
    if (*stage)
        nftw(stage, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    everything();
    CONTENTS(openat(directory, "b", O_RDONLY));
    put_state_back();
}

/* Removes the files of the stage one by one. After each removal calls `everything`. */
PROBE(removed_file_by_file) {
    static const char *const names[] = {"fs%s/a", "fs%s/d/b", "fs%s/bin/show", "fs%s/bin/script", "fs%s/lib/libmarker.so", "fs%s/full/1", "lib/libpyshm.so", "bin/pyshm-exec", "index", NULL};
    keep_state();
    for (const char *const *name = names; *name; name++) {
        say("without %s", *name);
        if (*stage) {
            char below[8192];
            snprintf(below, sizeof below, *name, E);
            if (unlink(S(below)))
                say("  %s: %s", below, strerror(errno));
        }
        everything();
    }
    put_state_back();
}

/* Makes a file by a system call that no hook sees. The snapshot does not have the file, so a process with the shim finds no
 * such file. */
static void make_unknown(void) {
    int fd = raw(SYS_open, (long)P("unknown"), O_WRONLY | O_CREAT, 0644);
    raw(SYS_write, fd, (long)"unknown\n", 8);
    raw(SYS_close, fd, 0, 0);
}

PROBE(look) {
    CONTENTS(open(P("a"), O_RDONLY));
    OPEN(open(P("unknown"), O_RDONLY));
    run(P("bin/show"), "inert", NULL);
}

/* Whether a child with the shim sees the file that the snapshot does not have. */
static int sees_unknown(void) {
    int ends[2];
    char text[4096] = "";
    if (pipe(ends))
        return -1;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 1);
        start(self(), "look", preload_of(NULL, NULL), NULL);
        _exit(0);
    }
    close(ends[1]);
    long at = 0;
    for (long n; (n = read(ends[0], text + at, sizeof text - 1 - at)) > 0;)
        at += n;
    close(ends[0]);
    waitpid(child, NULL, 0);
    return strstr(text, "open(P(\"unknown\"), O_RDONLY): ok") != NULL;
}

static void look(const char *what, const char *more) {
    say("%s", what);
    start(self(), "look", preload_of(NULL, NULL), more);
}

PROBE(configuration) {
    make_unknown();
    say("the shim is at work where nothing is wrong: %d", !*stage || !sees_unknown());
    look("disabled", "PYSHM_DISABLE=1");
    look("relative", "PYSHM_STAGE=relative/name");
    look("missing", "PYSHM_STAGE=/nonexistent/stage");
    look("a file", "PYSHM_STAGE=/etc/passwd");
    look("another directory", "PYSHM_STAGE=/tmp");
    char variable[20000] = "PYSHM_STAGE=";
    memset(variable + 12, '/', 12000);
    look("long", variable);
}

/* Cuts a file of the stage to its first `size` bytes, or keeps all bytes if `size` is negative. Then overwrites the start of
 * the file with `text`, unless `text` is null. */
static void cut(const char *name, long size, const char *text) {
    char kept[8192];
    if (!*stage)
        return;
    snprintf(kept, sizeof kept, "%s.kept", S(name));
    if (rename(S(name), kept))
        say("  %s: %s", name, strerror(errno));
    static char bytes[1 << 22];
    int from = open(kept, O_RDONLY);
    long n = read(from, bytes, size < 0 ? sizeof bytes : size);
    if (text)
        memcpy(bytes, text, strlen(text));
    int fd = open(S(name), O_WRONLY | O_CREAT, 0600);
    if (write(fd, bytes, n) != n)
        say("  cutting failed");
    close(fd);
    close(from);
}
/* Puts back the file that `cut` replaced. */
static void whole(const char *name) {
    char kept[8192];
    snprintf(kept, sizeof kept, "%s.kept", S(name));
    if (*stage && rename(kept, S(name)))
        say("  %s: %s", name, strerror(errno));
}

PROBE(damaged) {
    static const struct { const char *what, *name; long size; const char *text; } ways[] = {
        {"no byte of the index", "index", 0, NULL},       {"half a header", "index", 20, NULL},
        {"a page of the index", "index", 4096, NULL},     {"two pages of the index", "index", 5000, NULL},
        {"another index", "index", -1, "NOTPYSHM"},       {"no byte of the state", "state", 0, NULL},
        {"a page of the state", "state", 4096, NULL},     {"another state", "state", -1, "NOTPYSHM"},
    };
    make_unknown();
    say("the shim is at work where nothing is wrong: %d", !*stage || !sees_unknown());
    for (int i = 0; i < sizeof ways / sizeof *ways; i++) {
        cut(ways[i].name, ways[i].size, ways[i].text);
        look(ways[i].what, NULL);
        whole(ways[i].name);
    }
    if (*stage) {
        rename(S("index"), S("index.kept"));
        mkfifo(S("index"), 0600);
    }
    look("a fifo", NULL);
    if (*stage) {
        unlink(S("index"));
        rename(S("index.kept"), S("index"));
        chmod(stage, 0777);
    }
    look("open to others", NULL);
    if (*stage)
        chmod(stage, 0700);
    say("and again: %d", !*stage || !sees_unknown());
}
