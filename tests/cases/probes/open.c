/* Opens files by every function that can open a file. */
#include "probe.h"
#include <sys/syscall.h>

/* Programs that were compiled with _FORTIFY_SOURCE, and some libraries, call these. */
int __open(const char *, int, ...);
int __open64(const char *, int, ...);
int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);

PROBE(reading) {
    CONTENTS(open(P("a"), O_RDONLY));
    CONTENTS(open64(P("a"), O_RDONLY));
    CONTENTS(__open(P("a"), O_RDONLY));
    CONTENTS(__open64(P("a"), O_RDONLY));
    CONTENTS(__open_2(P("a"), O_RDONLY));
    CONTENTS(__open64_2(P("a"), O_RDONLY));
    CONTENTS(openat(AT_FDCWD, P("a"), O_RDONLY));
    CONTENTS(openat64(AT_FDCWD, P("a"), O_RDONLY));
    CONTENTS(__openat_2(AT_FDCWD, P("a"), O_RDONLY));
    CONTENTS(__openat64_2(AT_FDCWD, P("a"), O_RDONLY));
    int d = OPEN(open(P("d"), O_RDONLY | O_DIRECTORY));
    CONTENTS(openat(d, "b", O_RDONLY));
    CONTENTS(openat64(d, "sub/c", O_RDONLY | O_CLOEXEC));
    CONTENTS(openat(d, "../a", O_RDONLY));
    OPEN(openat(d, "nope", O_RDONLY));
    OPEN(openat(d, "", O_RDONLY));
    CONTENTS(openat(d, P("a"), O_RDONLY));
    int path = OPEN(open(P("d"), O_PATH));
    CONTENTS(openat(path, "b", O_RDONLY));
}

PROBE(stdio) {
    char text[64] = "";
    static const char *const modes[] = {"r", "rb", "re", "rm", "r,ccs=UTF-8"};
    for (int i = 0; i < 5; i++) {
        struct stat s, t;
        FILE *file = POINTER(fopen(P("d/b"), modes[i]));
        say("  %d", fgetc(file));
        fstat(fileno(file), &s);
        stat(P("d/b"), &t);
        say("  one file %d, closed by exec %d", same(&s, &t), fcntl(fileno(file), F_GETFD));
        file = POINTER(freopen(P("a"), modes[i], file));
        say("  %d", fgetc(file));
        fclose(file);
        file = POINTER(fopen64(P("d/b"), modes[i]));
        say("  %d", fgetc(file));
        file = POINTER(freopen64(P("a"), modes[i], file));
        say("  %d", fgetc(file));
        fclose(file);
    }
    POINTER(freopen(P("nope"), "r", fopen("/dev/null", "r")));
    POINTER(freopen64(P("nope"), "r", fopen("/dev/null", "r")));
}

PROBE(stdio_writing) {
    char text[64];
    FILE *file = POINTER(fopen(P("one"), "w"));
    fputs("one\n", file), fclose(file);
    CONTENTS(open(P("one"), O_RDONLY));
    file = POINTER(fopen64(P("a"), "a"));
    fputs("more\n", file), fclose(file);
    CONTENTS(open(P("a"), O_RDONLY));
    file = POINTER(fopen(P("d/b"), "r+"));
    fputs("W", file), fclose(file);
    CONTENTS(open(P("d/b"), O_RDONLY));
    file = POINTER(freopen(P("two"), "w", fopen("/dev/null", "w")));
    fputs("two\n", file), fclose(file);
    CONTENTS(open(P("two"), O_RDONLY));
    file = POINTER(freopen64(P("three"), "w+", fopen("/dev/null", "w")));
    fputs("three\n", file), fclose(file);
    CONTENTS(open(P("three"), O_RDONLY));
    POINTER(fopen(P("one"), "wx"));
    attributes(P("one"));
    listing(E);
}

PROBE(writing) {
#define WRITES(call, name)                                                                                             \
    ({                                                                                                                 \
        int fd = OPEN(call);                                                                                           \
        if (fd >= 0 && write(fd, "written", 7) < 0)                                                                    \
            say("  %s", strerror(errno));                                                                              \
        close(fd);                                                                                                     \
        CONTENTS(open(P(name), O_RDONLY));                                                                             \
    })
    int top = open(E, O_RDONLY);
    WRITES(creat(P("creat"), 0640), "creat");
    WRITES(creat64(P("empty/creat64"), 0600), "empty/creat64");
    WRITES(creat(P("full/1"), 0640), "full/1");
    WRITES(open(P("made"), O_WRONLY | O_CREAT, 0604), "made");
    WRITES(open64(P("made64"), O_RDWR | O_CREAT | O_EXCL, 0600), "made64");
    WRITES(open64(P("made64"), O_RDWR | O_CREAT | O_EXCL, 0600), "made64");
    WRITES(openat(top, "made-at", O_WRONLY | O_CREAT, 0600), "made-at");
    WRITES(open(P("full/2"), O_WRONLY), "full/2");
    WRITES(open(P("full/3"), O_WRONLY | O_TRUNC), "full/3");
    WRITES(__open_2(P("d/b"), O_RDWR), "d/b");
    WRITES(__openat64_2(top, "d/sub/c", O_RDWR | O_APPEND), "d/sub/c");
    WRITES(open(P("to-a"), O_WRONLY), "a");
    WRITES(open(P("dangling"), O_WRONLY | O_CREAT, 0600), "dangling");
    WRITES(open(P("d"), O_WRONLY), "d");
    WRITES(open(P("nope/x"), O_WRONLY | O_CREAT, 0600), "nope/x");
    WRITES(open(P("a/x"), O_WRONLY | O_CREAT, 0600), "a/x");
    attributes(P("creat"));
    attributes(P("empty/creat64"));
    attributes(P("made"));
    listing(E);
}

PROBE(unnamed) {
    struct stat s;
    int fd = open(P("d"), O_TMPFILE | O_RDWR, 0600);
    say("without a name: %s", fd >= 0 || errno == EOPNOTSUPP ? "as the file system has it" : strerror(errno));
    listing(P("d"));
}

PROBE(raw) {
    struct stat s;
    CONTENTS(syscall(SYS_openat, AT_FDCWD, P("a"), O_RDONLY));
    CALL(syscall(SYS_newfstatat, AT_FDCWD, P("a"), &s, 0));
    CALL(syscall(SYS_faccessat, AT_FDCWD, P("nope"), F_OK));
}
