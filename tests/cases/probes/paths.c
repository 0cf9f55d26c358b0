/* Uses paths in many spellings. */
#include "probe.h"
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

/* Prints whether two paths are the same file. */
static void one_file(const char *what, const char *a, const char *b) {
    struct stat s, t;
    if (stat(a, &s) || stat(b, &t))
        say("%s: %s", what, strerror(errno));
    else
        say("%s: one file %d", what, same(&s, &t));
}

PROBE(neighbours) {
    CONTENTS(open(B("env2/a"), O_RDONLY));
    OPEN(open(B("env2/nope"), O_RDONLY));
    OPEN(open(B("en"), O_RDONLY));
    CONTENTS(open(P("a"), O_RDONLY));
}

PROBE(spellings) {
    char doubled[8192], *to = doubled;
    const char *b = P("d/b");
    for (const char *from = b; *from; *to++ = *from++)
        if (*from == '/')
            to = stpcpy(to, "/./");
    *to = 0;
    one_file("doubled", b, doubled);
    one_file("a slash at the end", P("d"), P("d/"));
    one_file("a dot at the end", P("d"), P("d/."));
    one_file("back from a directory", b, P("d/sub/../b"));
    one_file("back to the prefix", b, P("d/../d/b"));
    one_file("out and in", b, P("../env/d/b"));
    CONTENTS(open(doubled, O_RDONLY));
    CALL(access(doubled, R_OK));
}

PROBE(in_from_outside) {
    one_file("in from outside", P("d/b"), B("out/../env/d/b"));
    write_file(B("out/../env/d/b"), "changed\n");
    CONTENTS(open(P("d/b"), O_RDONLY));
}

PROBE(back_from_nothing) {
    struct stat s;
    CALL(stat(P("nonexist/../bin"), &s));
    OPEN(open(P("nonexist/../a"), O_RDONLY));
    OPEN(open(P("d/nonexist/../b"), O_RDONLY));
    CALL(access(P("a/../a"), F_OK));
}

PROBE(through_a_link) {
    struct stat s, t;
    CONTENTS(open(P("lib64/os.py"), O_RDONLY));
    CALL(stat(P("lib64/os.py"), &s));
    CALL(stat(P("lib/os.py"), &t));
    say("one file %d", same(&s, &t));
    CALL(access(P("lib64/nope"), F_OK));
    /* `..` starts from the target of the link, not from the directory of the link. */
    CONTENTS(open(P("to-d/sub/../../a"), O_RDONLY));
    CALL(lstat(P("lib64/"), &s));
    say("a directory %d", S_ISDIR(s.st_mode));
}

PROBE(file_as_directory) {
    struct stat s;
    char to[64];
    CALL(stat(P("lib/os.py/x"), &s));
    CALL(stat(P("lib/os.py/"), &s));
    CALL(lstat(P("lib/os.py/."), &s));
    OPEN(open(P("lib/os.py/"), O_RDONLY));
    OPEN(open(P("lib/os.py"), O_RDONLY | O_DIRECTORY));
    CALL(access(P("lib/os.py/x/y"), F_OK));
    POINTER(opendir(P("lib/os.py")));
    CALL(readlink(P("to-a/"), to, sizeof to));
    CALL(access(P("dangling/x"), F_OK));
}

PROBE(missing) {
    struct stat s;
    struct statx x;
    struct statfs f;
    char to[64];
    CALL(stat(P("nope"), &s));
    CALL(lstat(P("d/nope"), &s));
    CALL(fstatat(AT_FDCWD, P("nope"), &s, 0));
    CALL(statx(AT_FDCWD, P("nope"), 0, STATX_ALL, &x));
    OPEN(open(P("nope"), O_RDONLY));
    OPEN(open(P("nope"), O_PATH));
    OPEN(open(P("nope"), O_RDONLY | O_DIRECTORY));
    CALL(access(P("nope"), F_OK));
    CALL(access(P("nope/deeper"), R_OK));
    CALL(readlink(P("nope"), to, sizeof to));
    CALL(statfs(P("nope"), &f));
    CALL(getxattr(P("nope"), "user.x", to, sizeof to));
    POINTER(opendir(P("nope")));
    POINTER(fopen(P("nope"), "r"));
    POINTER(realpath(P("nope"), NULL));
    CALL(chdir(P("nope")));
}

PROBE(bad_pointers) {
    struct stat s;
    char to[64];
    const char *bad[] = {NULL, (const char *)1, (const char *)-1L};
    for (int i = 0; i < 3; i++) {
        const char *volatile p = bad[i];
        say("pointer %d", i);
        CALL(stat(p, &s));
        CALL(lstat(p, &s));
        OPEN(open(p, O_RDONLY));
        OPEN(open(p, O_WRONLY | O_CREAT, 0600));
        CALL(access(p, F_OK));
        CALL(readlink(p, to, sizeof to));
        CALL(unlink(p));
        CALL(rename(p, P("a")));
        CALL(chdir(p));
    }
    say("nothing");
    CALL(stat("", &s));
    CALL(lstat("", &s));
    OPEN(open("", O_RDONLY));
    CALL(access("", F_OK));
    CALL(readlink("", to, sizeof to));
    CALL(unlink(""));
    CALL(mkdir("", 0700));
    CALL(rename("", P("a")));
    say("where to");
    CALL(readlink(P("to-a"), to, 0));
    CALL(readlink(P("to-a"), NULL, 10));
    CALL(stat(P("nope"), NULL));
}

PROBE(unmapped_pointer) {
    struct stat s;
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page, 4096);
    CALL(access(P("a"), F_OK));
    CALL(stat(page, &s));
    OPEN(open(page, O_RDONLY));
    CALL(access(page, F_OK));
}

PROBE(too_long) {
    static char path[20000], name[300];
    struct stat s;
    memset(name, 'x', 299);
    char *to = stpcpy(path, E);
    while (to - path < 4090)
        to = stpcpy(to, "/d");
    for (int length = 4094; length <= 4098; length++) {
        memset(path + strlen(path), 'd', length - strlen(path));
        path[length] = 0;
        CALL(stat(path, &s));
        OPEN(open(path, O_RDONLY));
        CALL(access(path, F_OK));
        CALL(unlink(path));
    }
    CALL(stat(P(name), &s));
    OPEN(open(P(name), O_RDONLY));
}

PROBE(both_names) {
    struct stat s, t;
    CONTENTS(open(P("d/b"), O_RDONLY));
    CONTENTS(open(B("env/d/b"), O_RDONLY));
    CALL(stat(P("a"), &s));
    CALL(stat(B("env/a"), &t));
    say("one file %d", same(&s, &t));
    say("%s", realpath(P("d/b"), NULL));
    OPEN(open(P("nope"), O_RDONLY));
    OPEN(open(B("env/nope"), O_RDONLY));
    write_file(P("made"), "by the link\n");
    CONTENTS(open(B("env/made"), O_RDONLY));
    write_file(B("env/made"), "by the directory\n");
    CONTENTS(open(P("made"), O_RDONLY));
    CALL(unlink(B("env/a")));
    CALL(access(P("a"), F_OK));
}

PROBE(the_link_itself) {
    struct stat s;
    char to[100] = {0};
    CALL(readlink(E, to, sizeof to));
    say("%s", to);
    CALL(lstat(E, &s));
    say("a link %d", S_ISLNK(s.st_mode));
    CALL(stat(E, &s));
    say("a directory %d", S_ISDIR(s.st_mode));
    listing(E);
}

PROBE(two_prefixes) {
    struct stat s;
    CONTENTS(open(P("d/b"), O_RDONLY));
    CONTENTS(open(B("other/x"), O_RDONLY));
    CONTENTS(open(B("other/to-env/d/b"), O_RDONLY));
    CONTENTS(open(P("to-other/x"), O_RDONLY));
    CALL(stat(B("other/nope"), &s));
    CALL(stat(P("nope"), &s));
    listing(B("other"));
}

PROBE(unknown_names) {
    struct stat s;
    CONTENTS(open(P("later"), O_RDONLY));
    CONTENTS(open(P("d/later"), O_RDONLY));
    CALL(stat(P("later-dir/x"), &s));
    CALL(access(P("nope"), F_OK));
}

PROBE(errno_is_kept) {
    struct stat s;
    char to[64];
    errno = 77;
    int fd = open(P("a"), O_RDONLY);
    say("open %d", errno);
    stat(P("a"), &s), lstat(P("to-a"), &s), fstat(fd, &s);
    say("stat %d", errno);
    access(P("a"), R_OK), readlink(P("to-a"), to, sizeof to);
    say("access, readlink %d", errno);
    fchmod(fd, 0644), chmod(P("a"), 0600), rename(P("a"), P("b"));
    say("fchmod, chmod, rename %d", errno);
    close(open(P("b"), O_RDWR)), close(openat(fd = open(P("d"), O_RDONLY), "b", O_RDONLY));
    say("open %d", errno);
    fchdir(fd);
    say("fchdir %d", errno);
}
