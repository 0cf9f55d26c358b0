/* Reads and follows symbolic links by system calls and by libc functions. */
#include "probe.h"
#include <limits.h>

/* Programs that were compiled with _FORTIFY_SOURCE call these. */
ssize_t __readlink_chk(const char *, char *, size_t, size_t);
ssize_t __readlinkat_chk(int, const char *, char *, size_t, size_t);
char *__realpath_chk(const char *, char *, size_t);

/* Prints the target of a link. */
#define TARGET(call)                                                                                                   \
    ({                                                                                                                 \
        char to[4096];                                                                                                 \
        long n_ = CALL(call);                                                                                          \
        say("  %.*s", n_ > 0 ? (int)n_ : 0, to);                                                                       \
    })

PROBE(readers) {
    int d = open(P("d"), O_RDONLY), top = open(E, O_RDONLY);
    TARGET(readlink(P("abs-to-b"), to, sizeof to));
    TARGET(readlinkat(AT_FDCWD, P("abs-to-b"), to, sizeof to));
    TARGET(readlinkat(top, "abs-to-b", to, sizeof to));
    TARGET(__readlink_chk(P("abs-to-b"), to, sizeof to, sizeof to));
    TARGET(__readlinkat_chk(top, "abs-to-b", to, sizeof to, sizeof to));
    TARGET(__readlinkat_chk(AT_FDCWD, P("abs-to-b"), to, sizeof to, sizeof to));
    TARGET(readlink(P("a"), to, sizeof to));
    TARGET(readlinkat(d, "nope", to, sizeof to));
    TARGET(readlinkat(d, "", to, sizeof to));
}

PROBE(real_names) {
    char to[PATH_MAX];
    say("%s", realpath(P("to-d/../abs-to-b"), NULL));
    say("%s", realpath(P("abs-to-b"), to));
    say("%s", __realpath_chk(P("abs-to-b"), to, sizeof to));
    char *name = canonicalize_file_name(P("to-d/sub"));
    say("%s", name);
    free(name);
    free(realpath(E, NULL));
    POINTER(realpath(P("nope"), NULL));
    POINTER(realpath(P("a/x"), to));
    POINTER(realpath(P("loop1"), to));
    POINTER(canonicalize_file_name(P("dangling")));
    POINTER(__realpath_chk(P("d/nope"), to, sizeof to));
    /* This link leads out of the prefix. */
    say("%s", realpath(P("outside"), NULL));
}

PROBE(dangling) {
    struct stat s;
    CALL(lstat(P("dangling"), &s));
    say("a link %d size %d", S_ISLNK(s.st_mode), (int)s.st_size);
    CALL(stat(P("dangling"), &s));
    OPEN(open(P("dangling"), O_RDONLY));
    CALL(access(P("dangling"), F_OK));
    TARGET(readlink(P("dangling"), to, sizeof to));
}

PROBE(absolute) {
    struct stat s, t;
    CONTENTS(open(P("abs-to-b"), O_RDONLY));
    CALL(stat(P("abs-to-b"), &s));
    CALL(stat(P("d/b"), &t));
    say("one file %d", same(&s, &t));
    CALL(access(P("abs-to-b"), R_OK));
    CONTENTS(open(P("abs-to-d/sub/c"), O_RDONLY));
    CONTENTS(open(P("abs-to-d/../a"), O_RDONLY));
}

PROBE(leaving) {
    struct stat s, t;
    CONTENTS(open(P("outside"), O_RDONLY));
    CONTENTS(open(P("outside-dir/real"), O_RDONLY));
    CALL(stat(P("outside"), &s));
    CALL(stat(B("out/real"), &t));
    say("one file %d", same(&s, &t));
    OPEN(open(P("outside-dir/nope"), O_RDONLY));
    CONTENTS(open(P("outside-dir/../env/a"), O_RDONLY));
    TARGET(readlink(P("outside"), to, sizeof to));
    write_file(P("outside-dir/made"), "made\n");
    CONTENTS(open(B("out/made"), O_RDONLY));
}

PROBE(truncated) {
    char to[10] = "zzzzzzzzz";
    CALL(readlink(P("abs-to-b"), to, 5));
    say("%.9s", to);
    CALL(__readlink_chk(P("abs-to-b"), to, 3, sizeof to));
    CALL(readlink(P("abs-to-b"), to, 0));
}

PROBE(size) {
    static const char *const names[] = {"to-a", "abs-to-b", "dangling", "outside", "outside-dir", "loop1"};
    for (int i = 0; i < 6; i++) {
        struct stat s;
        char to[4096];
        lstat(P(names[i]), &s);
        say("%s: as long as its text %d", names[i], readlink(P(names[i]), to, sizeof to) == s.st_size);
    }
}

PROBE(loops) {
    struct stat s;
    OPEN(open(P("loop1"), O_RDONLY));
    CALL(stat(P("loop1"), &s));
    CALL(lstat(P("loop1"), &s));
    CALL(access(P("loop1/x"), F_OK));
    OPEN(open(P("to-a"), O_RDONLY | O_NOFOLLOW));
    OPEN(open(P("to-d"), O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
    CONTENTS(open(P("to-d/b"), O_RDONLY | O_NOFOLLOW));
}

PROBE(of_the_kernel) {
    char link[64];
    int fd = open(P("d/b"), O_RDONLY), directory = open(P("d"), O_RDONLY), copy = dup(fd);
    int handles[] = {fd, directory, copy};
    for (int i = 0; i < 3; i++) {
        sprintf(link, "/proc/self/fd/%d", handles[i]);
        TARGET(readlink(link, to, sizeof to));
        TARGET(__readlink_chk(link, to, sizeof to, sizeof to));
        TARGET(readlinkat(AT_FDCWD, link, to, sizeof to));
        say("  %s", realpath(link, NULL));
        sprintf(link, "/dev/fd/%d", handles[i]);
        TARGET(readlink(link, to, sizeof to));
        say("  %s", canonicalize_file_name(link));
    }
}

/* Calls readlink as many programs do: the probe clears the buffer before, and puts no NUL behind the result. */
PROBE(cleared_buffer) {
    char name[64], text[PATH_MAX] = {0}, same[PATH_MAX] = {0};
    int fd = open(P("a"), O_RDONLY);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CALL(readlink(name, text, sizeof text - 1));
    say("%s", text);
    CALL(readlinkat(AT_FDCWD, name, same, sizeof same - 1));
    say("%s", same);
}
