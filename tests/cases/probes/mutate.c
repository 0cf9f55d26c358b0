/*
 * Makes changes by every function that can change a file. Each call has its own file or directory in w/ (the tree
 * `writable`), so that a call that sets no mark is not hidden by the mark of another call.
 */
#include "probe.h"
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

/* Programs that were built before glibc 2.33 call these functions. Only a version finds their hidden names. */
#if defined __x86_64__
#define OLD(name, version) __asm__(".symver " #name "," #name "@GLIBC_" version)
#else
#define OLD(name, version) __asm__(".symver " #name "," #name "@GLIBC_2.17")
#endif
OLD(__xmknod, "2.2.5");
OLD(__xmknodat, "2.4");
int __xmknod(int, const char *, mode_t, dev_t *);
int __xmknodat(int, int, const char *, mode_t, dev_t *);
int lchmod(const char *, mode_t);

PROBE(names) {
    dev_t none = 0;
    int w = open(P("w"), O_RDONLY | O_DIRECTORY);
    umask(022);
    CALL(mkdir(P("w/in.mkdir/new"), 0750));
    attributes(P("w/in.mkdir/new"));
    CALL(mkdirat(w, "in.mkdirat/new", 0750));
    attributes(P("w/in.mkdirat/new"));
    CALL(rmdir(P("w/rmdir")));
    attributes(P("w/rmdir"));
    CALL(unlink(P("w/unlink")));
    attributes(P("w/unlink"));
    CALL(unlinkat(w, "unlinkat", 0));
    attributes(P("w/unlinkat"));
    CALL(unlinkat(w, "unlinkat.dir", AT_REMOVEDIR));
    attributes(P("w/unlinkat.dir"));
    CALL(remove(P("w/remove")));
    attributes(P("w/remove"));
    CALL(mkfifo(P("w/in.mkfifo/new"), 0640));
    attributes(P("w/in.mkfifo/new"));
    CALL(mkfifoat(w, "in.mkfifoat/new", 0640));
    attributes(P("w/in.mkfifoat/new"));
    CALL(mknod(P("w/in.mknod/new"), S_IFREG | 0600, 0));
    attributes(P("w/in.mknod/new"));
    CALL(mknodat(w, "in.mknodat/new", S_IFIFO | 0600, 0));
    attributes(P("w/in.mknodat/new"));
    CALL(__xmknod(0, P("w/in.xmknod/new"), S_IFREG | 0600, &none));
    attributes(P("w/in.xmknod/new"));
    CALL(__xmknodat(0, w, "in.xmknodat/new", S_IFREG | 0600, &none));
    attributes(P("w/in.xmknodat/new"));
    CALL(symlink("symlink", P("w/in.symlink/new")));
    attributes(P("w/in.symlink/new"));
    CALL(symlinkat("symlink", w, "in.symlinkat/new"));
    attributes(P("w/in.symlinkat/new"));
    CALL(link(P("w/link"), P("w/link.new")));
    attributes(P("w/link.new"));
    attributes(P("w/link"));
    CALL(linkat(w, "linkat", w, "linkat.new", 0));
    attributes(P("w/linkat.new"));
    attributes(P("w/linkat"));
    CALL(rename(P("w/rename"), P("w/rename.new")));
    attributes(P("w/rename"));
    attributes(P("w/rename.new"));
    CALL(renameat(w, "renameat", w, "renameat.new"));
    attributes(P("w/renameat"));
    attributes(P("w/renameat.new"));
    CALL(renameat2(w, "renameat2", w, "renameat2.new", RENAME_NOREPLACE));
    attributes(P("w/renameat2"));
    attributes(P("w/renameat2.new"));
    listing(P("w"));
    /* Another process must see the same names. */
    run("ls", "-1", P("w"), NULL);
}

PROBE(refused) {
    CALL(mkdir(P("d"), 0700));
    CALL(mkdir(P("nope/x"), 0700));
    CALL(mkdir(P("a/x"), 0700));
    CALL(rmdir(P("d")));
    CALL(rmdir(P("a")));
    CALL(unlink(P("d")));
    CALL(unlink(P("nope")));
    CALL(link(P("nope"), P("x")));
    CALL(link(P("a"), P("d/b")));
    CALL(symlink("a", P("to-a")));
    CALL(rename(P("nope"), P("x")));
    CALL(rename(P("d"), P("d/sub/x")));
    CALL(rename(P("a"), P("d")));
    CALL(chmod(P("nope"), 0600));
    CALL(truncate(P("d"), 0));
    CALL(chmod(P("loop1"), 0600));
    run("ls", "-A", E, NULL);
}

PROBE(attributes_by_path) {
    struct timeval times[2] = {{1, 2}, {3, 4}};
    struct timespec exact[2] = {{5, 6}, {7, 8}};
    struct utimbuf seconds = {9, 10};
    /* Only root may give a file away. */
    uid_t to = geteuid() == 0 ? 7 : geteuid();
    int w = open(P("w"), O_RDONLY | O_DIRECTORY);
    CALL(chmod(P("w/chmod"), 0600));
    attributes(P("w/chmod"));
    CALL(lchmod(P("w/lchmod"), 0601));
    attributes(P("w/lchmod"));
    CALL(fchmodat(w, "fchmodat", 0602, 0));
    attributes(P("w/fchmodat"));
    CALL(chown(P("w/chown"), to, -1));
    attributes(P("w/chown"));
    CALL(lchown(P("w/lchown.link"), to, -1));
    attributes(P("w/lchown.link"));
    CALL(fchownat(w, "fchownat", to, to, 0));
    attributes(P("w/fchownat"));
    CALL(truncate(P("w/truncate"), 2));
    attributes(P("w/truncate"));
    CALL(truncate64(P("w/truncate64"), 300));
    attributes(P("w/truncate64"));
    CALL(utime(P("w/utime"), &seconds));
    attributes(P("w/utime"));
    CALL(utimes(P("w/utimes"), times));
    attributes(P("w/utimes"));
    CALL(lutimes(P("w/lutimes.link"), times));
    attributes(P("w/lutimes.link"));
    attributes(P("w/lutimes"));
    CALL(futimesat(w, "futimesat", times));
    attributes(P("w/futimesat"));
    CALL(utimensat(w, "utimensat", exact, 0));
    attributes(P("w/utimensat"));
    run("stat", "-c", "%n %a %u %Y", P("w/chmod"), P("w/fchownat"), P("w/utimensat"), NULL);
    run("stat", "-c", "%n %s", P("w/truncate"), P("w/truncate64"), NULL);
}

/* Changes attributes by descriptors that were opened for reading. */
PROBE(attributes_by_descriptor) {
    struct timeval times[2] = {{1, 2}, {3, 4}};
    struct timespec exact[2] = {{5, 6}, {7, 8}};
    struct stat s;
    uid_t to = geteuid() == 0 ? 7 : geteuid();
#define READ(name) open(P("w/" name), O_RDONLY)
    int fd = READ("fchmod");
    CALL(fchmod(fd, 0611));
    attributes(P("w/fchmod"));
    fstat(fd, &s);
    say("  fstat: mode %o", s.st_mode);
    CALL(fchown(READ("fchown"), to, -1));
    attributes(P("w/fchown"));
    CALL(futimens(fd = READ("futimens"), exact));
    attributes(P("w/futimens"));
    fstat(fd, &s);
    say("  fstat: %ld.%09ld", s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    CALL(futimes(READ("futimes"), times));
    attributes(P("w/futimes"));
    CALL(fchmod(fd = open(P("w/fchmod.dir"), O_RDONLY), 0710));
    attributes(P("w/fchmod.dir"));
    CALL(futimens(fd, NULL));
}

/* Whether the ctime of a file differs from `before`. */
static int changed(const char *path, const struct stat *before) {
    struct stat s;
    return lstat(path, &s) || s.st_ctim.tv_sec != before->st_ctim.tv_sec || s.st_ctim.tv_nsec != before->st_ctim.tv_nsec;
}

/* Prints an extended attribute. */
static void value_of(const char *path) {
    char value[64] = "";
    long n = getxattr(path, "user.note", value, sizeof value);
    say("  %s: %.*s", path, n >= 0 ? (int)n : 99, n >= 0 ? value : strerror(errno));
}

PROBE(extended_attributes) {
    struct stat before;
    CALL(setxattr(P("w/setxattr"), "user.note", "one", 3, 0));
    value_of(P("w/setxattr"));
    CALL(lsetxattr(P("w/lsetxattr"), "user.note", "two", 3, XATTR_CREATE));
    value_of(P("w/lsetxattr"));
    int fd = READ("fsetxattr");
    CALL(fsetxattr(fd, "user.note", "three", 5, 0));
    value_of(P("w/fsetxattr"));
    char value[64] = "";
    CALL(fgetxattr(fd, "user.note", value, sizeof value));
    say("  %s", value);
    CALL(flistxattr(fd, value, sizeof value));
    say("  %s", value);
    /* These files of the tree have an attribute. */
    lstat(P("w/removexattr"), &before);
    CALL(removexattr(P("w/removexattr"), "user.note"));
    say("  changed %d", changed(P("w/removexattr"), &before));
    value_of(P("w/removexattr"));
    lstat(P("w/lremovexattr"), &before);
    CALL(lremovexattr(P("w/lremovexattr"), "user.note"));
    say("  changed %d", changed(P("w/lremovexattr"), &before));
    value_of(P("w/lremovexattr"));
    lstat(P("w/fremovexattr"), &before);
    CALL(fremovexattr(READ("fremovexattr"), "user.note"));
    say("  changed %d", changed(P("w/fremovexattr"), &before));
    value_of(P("w/fremovexattr"));
}

/* Temporary files and directories, whose names libc chooses. */

/* Returns how many names a directory contains, without . and .. */
static int names_in(const char *directory) {
    DIR *d = opendir(directory);
    int n = 0;
    while (d && readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

PROBE(temporary) {
    char name[4096];
    char *directory;
#define MADE(call, in, template)                                                                                       \
    ({                                                                                                                 \
        struct stat s, t;                                                                                              \
        strcpy(name, P(in "/" template));                                                                              \
        int fd = OPEN(call);                                                                                           \
        CALL(stat(name, &s));                                                                                          \
        fstat(fd, &t);                                                                                                 \
        say("  the same %d mode %o", same(&s, &t), s.st_mode);                                                         \
        CALL(access(name, R_OK));                                                                                      \
        say("  names %d", names_in(P(in)));                                                                            \
        CALL(unlink(name));                                                                                            \
        say("  names %d", names_in(P(in)));                                                                            \
    })
    MADE(mkstemp(name), "w/in.mkstemp", "aXXXXXX");
    MADE(mkstemp64(name), "w/in.mkstemp64", "bXXXXXX");
    MADE(mkostemp(name, O_APPEND), "w/in.mkostemp", "cXXXXXX");
    MADE(mkostemp64(name, O_CLOEXEC), "w/in.mkostemp64", "dXXXXXX");
    MADE(mkstemps(name, 2), "w/in.mkstemps", "eXXXXXX.x");
    MADE(mkstemps64(name, 2), "w/in.mkstemps64", "fXXXXXX.x");
    MADE(mkostemps(name, 2, 0), "w/in.mkostemps", "gXXXXXX.x");
    MADE(mkostemps64(name, 2, O_CLOEXEC), "w/in.mkostemps64", "hXXXXXX.x");
    strcpy(name, P("w/in.mkdtemp/iXXXXXX"));
    POINTER(directory = mkdtemp(name));
    CALL(access(name, X_OK));
    say("  names %d", names_in(P("w/in.mkdtemp")));
    CALL(rmdir(name));
}
