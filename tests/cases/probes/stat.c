/* Calls stat and access under all their names. */
#include "probe.h"
#include <sys/sysmacros.h>

/* Programs that were built before glibc 2.33 call these functions. Only a version finds their hidden names. */
#if defined __x86_64__
#define OLD(name, version) __asm__(".symver " #name "," #name "@GLIBC_" version)
#define STAT_VERSION 1
#else
#define OLD(name, version) __asm__(".symver " #name "," #name "@GLIBC_2.17")
#define STAT_VERSION 0
#endif
OLD(__xstat, "2.2.5");
OLD(__xstat64, "2.2.5");
OLD(__lxstat, "2.2.5");
OLD(__lxstat64, "2.2.5");
OLD(__fxstat, "2.2.5");
OLD(__fxstat64, "2.2.5");
OLD(__fxstatat, "2.4");
OLD(__fxstatat64, "2.4");
int __xstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *);
int __lxstat(int, const char *, struct stat *);
int __lxstat64(int, const char *, struct stat64 *);
int __fxstat(int, int, struct stat *);
int __fxstat64(int, int, struct stat64 *);
int __fxstatat(int, int, const char *, struct stat *, int);
int __fxstatat64(int, int, const char *, struct stat64 *, int);

static struct stat first, s;
static struct stat64 l;
static struct statx x;

/* Prints whether a call gives the same attributes as the first stat. */
#define SEES(call, where)                                                                                              \
    ({                                                                                                                 \
        memset(&where, 0, sizeof where);                                                                               \
        CALL(call);                                                                                                    \
        say("  the same %d", same(&first, (struct stat *)&where));                                                     \
    })
#define SEES_X(call)                                                                                                   \
    ({                                                                                                                 \
        memset(&x, 0, sizeof x);                                                                                       \
        CALL(call);                                                                                                    \
        say("  the same %d", x.stx_ino == first.st_ino && x.stx_size == first.st_size && x.stx_mode == first.st_mode   \
                                 && makedev(x.stx_dev_major, x.stx_dev_minor) == first.st_dev                          \
                                 && x.stx_mtime.tv_nsec == first.st_mtim.tv_nsec);                                     \
    })

PROBE(by_path) {
    int top = open(E, O_RDONLY);
    CALL(stat(P("to-a"), &first));
    SEES(stat64(P("to-a"), &l), l);
    SEES(fstatat(AT_FDCWD, P("to-a"), &s, 0), s);
    SEES(fstatat64(AT_FDCWD, P("to-a"), &l, 0), l);
    SEES(fstatat(top, "to-a", &s, 0), s);
    SEES(fstatat64(top, "a", &l, AT_SYMLINK_NOFOLLOW), l);
    SEES(__xstat(STAT_VERSION, P("to-a"), &s), s);
    SEES(__xstat64(STAT_VERSION, P("to-a"), &l), l);
    SEES(__fxstatat(STAT_VERSION, top, "a", &s, 0), s);
    SEES(__fxstatat64(STAT_VERSION, top, "a", &l, 0), l);
    SEES(__fxstatat(STAT_VERSION, AT_FDCWD, P("a"), &s, 0), s);
    SEES(__fxstatat64(STAT_VERSION, AT_FDCWD, P("a"), &l, 0), l);
    SEES_X(statx(AT_FDCWD, P("to-a"), 0, STATX_BASIC_STATS, &x));
    SEES_X(statx(top, "a", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x));
    say("links themselves");
    CALL(lstat(P("to-a"), &first));
    say("a link %d", S_ISLNK(first.st_mode));
    SEES(lstat64(P("to-a"), &l), l);
    SEES(__lxstat(STAT_VERSION, P("to-a"), &s), s);
    SEES(__lxstat64(STAT_VERSION, P("to-a"), &l), l);
    SEES(fstatat(top, "to-a", &s, AT_SYMLINK_NOFOLLOW), s);
    SEES_X(statx(top, "to-a", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x));
    attributes(P("a"));
    attributes(P("to-a"));
    attributes(P("d"));
    attributes(P("read-only"));
    attributes(P("same-as-a"));
}

static void by_descriptor(const char *name) {
    int fd = open(P(name), O_RDONLY), copy = dup(fd);
    CALL(stat(P(name), &first));
    SEES(fstat(fd, &s), s);
    SEES(fstat64(fd, &l), l);
    SEES(__fxstat(STAT_VERSION, fd, &s), s);
    SEES(__fxstat64(STAT_VERSION, fd, &l), l);
    SEES(fstatat(fd, "", &s, AT_EMPTY_PATH), s);
    SEES(fstatat64(fd, "", &l, AT_EMPTY_PATH), l);
    SEES(__fxstatat(STAT_VERSION, fd, "", &s, AT_EMPTY_PATH), s);
    SEES(__fxstatat64(STAT_VERSION, fd, "", &l, AT_EMPTY_PATH), l);
    SEES_X(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
    SEES(fstat(copy, &s), s);
    close(fd);
    SEES(fstat(copy, &s), s);
    if (!fork()) {
        SEES(fstat(copy, &s), s);
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    /* The device number must be that of the directory beside the prefix. */
    stat(B("out"), &s);
    say("  the device of what lies beside it %d", s.st_dev == first.st_dev);
}

PROBE(by_descriptor) {
    by_descriptor("a");
    by_descriptor("d/sub/c");
    by_descriptor("d");
    by_descriptor("to-d");
    by_descriptor("read-only");
}

/* Compares the stat of a path with the fstat after opening it. */
PROBE(after_open) {
    static const char *const names[] = {"a", "d/b", "lib64/os.py", "abs-to-b", "bin/tool"};
    for (int i = 0; i < 5; i++) {
        stat(P(names[i]), &first);
        int fd = open(P(names[i]), O_RDONLY);
        fstat(fd, &s);
        say("%s: dev %d ino %d mtime %d.%d all %d", names[i], s.st_dev == first.st_dev, s.st_ino == first.st_ino,
            s.st_mtim.tv_sec == first.st_mtim.tv_sec, s.st_mtim.tv_nsec == first.st_mtim.tv_nsec, same(&s, &first));
        close(fd);
    }
}

PROBE(access_names) {
    int top = open(E, O_RDONLY);
    static const char *const names[] = {"a", "read-only", "bin/tool", "d", "to-a", "dangling", "nope"};
    for (int i = 0; i < 7; i++) {
        const char *name = names[i], *path = P(name);
        say("%s", name);
        for (int want = 0; want <= 7; want++) {
            say(" %d", want);
            CALL(access(path, want));
            CALL(eaccess(path, want));
            CALL(euidaccess(path, want));
            CALL(faccessat(top, name, want, 0));
            CALL(faccessat(AT_FDCWD, path, want, AT_EACCESS));
            CALL(faccessat(AT_FDCWD, path, want, AT_SYMLINK_NOFOLLOW));
        }
    }
}

PROBE(access_to_nonsense) {
    CALL(access(P("nope"), R_OK));
    CALL(access(P("nope"), 8));
    CALL(eaccess(P("a"), 8));
    CALL(faccessat(AT_FDCWD, P("nope"), 8, 0));
}

PROBE(mount_point) {
    struct stat above;
    CALL(stat(E, &first));
    CALL(stat(P(".."), &above));
    CALL(stat(P("d"), &s));
    say("a mount point %d; one device inside %d", first.st_dev != above.st_dev, first.st_dev == s.st_dev);
}

/* Calls stat with flags that the kernel refuses for any path. Programs make such calls to find out which flags the kernel
 * supports. */
PROBE(unknown_flags) {
    struct stat s;
    struct statx x;
    const int unknown = 0x40000000;
    CALL(fstatat(AT_FDCWD, P("a"), &s, unknown));
    CALL(fstatat(AT_FDCWD, P("nope"), &s, unknown));
    CALL(fstatat(AT_FDCWD, P("a"), &s, AT_SYMLINK_FOLLOW));
    CALL(fstatat(AT_FDCWD, P("a"), &s, AT_NO_AUTOMOUNT));
    CALL(fstatat(open(P("d"), O_RDONLY), "b", &s, unknown));
    CALL(statx(AT_FDCWD, P("a"), unknown, STATX_ALL, &x));
    CALL(statx(AT_FDCWD, P("a"), AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &x));
    CALL(statx(AT_FDCWD, P("a"), AT_STATX_DONT_SYNC, STATX_ALL, &x));
    CALL(statx(AT_FDCWD, P("a"), 0, 0x80000000, &x));
    CALL(faccessat(AT_FDCWD, P("a"), R_OK, unknown));
}

/* Opens two files one after the other with the same descriptor number. The files have the same size and time, and differ only
 * in their inode numbers. */
PROBE(alike) {
    struct stat one, two, s;
    CALL(stat(P("full/1"), &one));
    CALL(stat(P("full/2"), &two));
    int fd = open(P("full/1"), O_RDONLY);
    CALL(fstat(fd, &s));
    close(fd);
    FILE *file = fopen(P("full/2"), "r");
    say("one number %d", fileno(file) == fd);
    CALL(fstat(fileno(file), &s));
    say("the second %d", same(&s, &two));
    fclose(file);
    fd = open(P("full/1"), O_RDONLY);
    dup2(open(P("full/2"), O_RDONLY), fd);
    CALL(fstat(fd, &s));
    say("the second %d", same(&s, &two));
}
