/* Calls each function that the shim hooks, where the call passes: a library that stands behind the shim sees it. */
#include "probe.h"
#include <dlfcn.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <libintl.h>
#include <mntent.h>
#include <nl_types.h>
#include <sched.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <utime.h>
#include <wordexp.h>

ssize_t __readlink_chk(const char *, char *, size_t, size_t);
ssize_t __readlinkat_chk(int, const char *, char *, size_t, size_t);
char *__realpath_chk(const char *, char *, size_t);
int __open_2(const char *, int), __open64_2(const char *, int), __openat_2(int, const char *, int), __openat64_2(int, const char *, int);
int __open(const char *, int, ...), __open64(const char *, int, ...), __fcntl(int, int, ...);
int capset(void *, void *);
ssize_t getdents64(int, void *, size_t);

static void report(const char *what) {
    void (*print)(void) = dlsym(RTLD_DEFAULT, "behind_report");
    say("%s", what);
    if (print)
        print();
}

static int seen(const char *path, const struct stat *st, int kind) { return 0; }
static int seen_full(const char *path, const struct stat *st, int kind, struct FTW *ftw) { return 0; }

/* Puts a name below a directory; valid for a few more calls. */
static const char *top;
static char *N(const char *name) { return (char *)name_in(top, name); }
static char *template(char *text, const char *tail) {
    return strcat(strcpy(text, N("tXXXXXX")), tail);
}

static void fill(void) {
    int d = open(N("f"), O_CREAT | O_RDWR, 0644);
    write(d, "hello\n", 6);
    close(d);
    symlink("f", N("l"));
    mkdir(N("d"), 0755);
    report("filled");
}

static void read_paths(void) {
    struct stat s; struct statx x; struct statfs fs; struct statvfs vfs; struct dirent **list; char b[8192];
    stat(N("f"), &s); stat64(N("f"), (struct stat64 *)&s); lstat(N("l"), &s); lstat64(N("l"), (struct stat64 *)&s);
    fstatat(AT_FDCWD, N("f"), &s, 0); fstatat64(AT_FDCWD, N("f"), (struct stat64 *)&s, AT_SYMLINK_NOFOLLOW);
    fstatat(AT_FDCWD, N("f"), &s, AT_NO_AUTOMOUNT);
    statx(AT_FDCWD, N("f"), 0, STATX_BASIC_STATS, &x); statx(AT_FDCWD, N("f"), AT_SYMLINK_NOFOLLOW, 1 << 30, &x);
    access(N("f"), R_OK); eaccess(N("f"), R_OK); euidaccess(N("f"), R_OK); faccessat(AT_FDCWD, N("f"), R_OK, AT_EACCESS);
    readlink(N("l"), b, 99); readlinkat(AT_FDCWD, N("l"), b, 99); __readlink_chk(N("l"), b, 99, 99); __readlinkat_chk(AT_FDCWD, N("l"), b, 99, 99);
    realpath(N("l"), b); __realpath_chk(N("l"), b, sizeof b); free(canonicalize_file_name(N("l")));
    close(open(N("f"), O_RDONLY)); close(open64(N("f"), O_RDONLY)); close(openat(AT_FDCWD, N("f"), O_RDONLY)); close(openat64(AT_FDCWD, N("f"), O_RDONLY));
    close(__open(N("f"), O_RDONLY)); close(__open64(N("f"), O_RDONLY)); close(__open_2(N("f"), O_RDONLY)); close(__open64_2(N("f"), O_RDONLY));
    close(__openat_2(AT_FDCWD, N("f"), O_RDONLY)); close(__openat64_2(AT_FDCWD, N("f"), O_RDONLY)); close(open(N("f"), O_PATH));
    FILE *f = fopen(N("f"), "r"); f = freopen(N("f"), "r", f); f = freopen64(N("f"), "r", f); fclose(f); fclose(fopen64(N("f"), "r")); fclose(setmntent(N("f"), "r"));
    DIR *d = opendir(N("d")); readdir(d); rewinddir(d); readdir64(d); closedir(d);
    scandir(N("d"), &list, 0, alphasort); scandir64(N("d"), (struct dirent64 ***)&list, 0, alphasort64); scandirat(AT_FDCWD, N("d"), &list, 0, alphasort);
    statfs(N("f"), &fs); statfs64(N("f"), (struct statfs64 *)&fs); statvfs(N("f"), &vfs); statvfs64(N("f"), (struct statvfs64 *)&vfs); pathconf(N("f"), _PC_LINK_MAX);
    getxattr(N("f"), "user.x", b, 9); lgetxattr(N("f"), "user.x", b, 9); listxattr(N("f"), b, 99); llistxattr(N("f"), b, 99);
    inotify_add_watch(inotify_init(), N("f"), IN_MODIFY); char h[200] = {0}; *(int *)h = 128; int m; name_to_handle_at(AT_FDCWD, N("f"), (void *)h, &m, 0);
    dlopen(N("f"), RTLD_NOW); dlmopen(LM_ID_BASE, N("f"), RTLD_NOW); dlerror(); bindtextdomain("x", N("d")); catopen(N("f"), 0);
    report("paths that are read");
}

static void write_paths(void) {
    struct timeval times[2] = {{5, 6}, {7, 8}}; char b[8192]; posix_spawn_file_actions_t actions;
    close(open(N("w"), O_CREAT | O_WRONLY, 0644)); close(creat(N("w"), 0644)); close(creat64(N("w"), 0644)); close(openat(AT_FDCWD, N("w2"), O_CREAT | O_RDWR, 0644));
    close(__open(N("w"), O_RDWR)); fclose(fopen(N("w"), "a")); close(open64(N("."), O_TMPFILE | O_RDWR, 0600));
    close(mkstemp(template(b, ""))); close(mkstemp64(template(b, ""))); close(mkostemp(template(b, ""), 0)); close(mkostemp64(template(b, ""), 0));
    close(mkstemps(template(b, ".x"), 2)); close(mkstemps64(template(b, ".x"), 2)); close(mkostemps(template(b, ".x"), 2, 0)); close(mkostemps64(template(b, ".x"), 2, 0)); mkdtemp(template(b, ""));
    mknod(N("n"), S_IFIFO | 0644, 0); mknodat(AT_FDCWD, N("n2"), S_IFIFO | 0644, 0); mkfifo(N("n3"), 0644); mkfifoat(AT_FDCWD, N("n4"), 0644);
    mkdir(N("m"), 0755); mkdirat(AT_FDCWD, N("m2"), 0755); rmdir(N("m")); unlinkat(AT_FDCWD, N("m2"), AT_REMOVEDIR);
    rename(N("n"), N("n5")); renameat(AT_FDCWD, N("n5"), AT_FDCWD, N("n6")); renameat2(AT_FDCWD, N("n6"), AT_FDCWD, N("n7"), 1); link(N("f"), N("k")); linkat(AT_FDCWD, N("f"), AT_FDCWD, N("k2"), 0);
    symlink("f", N("s")); symlinkat("f", AT_FDCWD, N("s2")); unlink(N("n2")); remove(N("n3")); unlinkat(AT_FDCWD, N("n4"), 0);
    chmod(N("f"), 0600); fchmodat(AT_FDCWD, N("f"), 0644, 0); chown(N("f"), -1, -1); lchown(N("s"), -1, -1); fchownat(AT_FDCWD, N("f"), -1, -1, 0);
    truncate(N("w"), 5); truncate64(N("w"), 6); utime(N("w"), 0); utimes(N("w"), times); lutimes(N("s"), times); futimesat(AT_FDCWD, N("w"), times); utimensat(AT_FDCWD, N("w"), 0, 0);
    setxattr(N("f"), "user.x", "y", 1, 0); lsetxattr(N("f"), "user.z", "y", 1, 0); removexattr(N("f"), "user.x"); lremovexattr(N("f"), "user.z");
    posix_spawn_file_actions_init(&actions); posix_spawn_file_actions_addopen(&actions, 9, N("w"), O_RDONLY, 0);
    struct sockaddr_un a = {AF_UNIX}; chdir(top); strcpy(a.sun_path, "sock"); bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a); chdir("/");
    // Their names differ from run to run.
    DIR *d = opendir(top);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] == 't')
            remove(N(e->d_name));
    closedir(d);
    report("paths that are written");
}

static void by_descriptor(void) {
    struct stat s; struct statx x; struct statfs fs; struct statvfs vfs; char b[8192]; struct timeval times[2] = {{5, 6}, {7, 8}};
    int d = open(top, O_RDONLY), f = open(N("f"), O_RDWR);
    fstat(f, &s); fstat64(f, (struct stat64 *)&s); fstatat(f, "", &s, AT_EMPTY_PATH); statx(f, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x);
    fstatat(d, "f", &s, 0); statx(d, "f", 0, STATX_BASIC_STATS, &x); faccessat(d, "f", R_OK, 0); readlinkat(d, "l", b, 99); close(openat(d, "f", O_RDONLY)); close(openat(d, "w", O_RDWR | O_CREAT, 0644));
    mkdirat(d, "m", 0755); mknodat(d, "n8", S_IFIFO | 0644, 0); renameat(d, "n8", d, "n9"); renameat2(d, "n9", d, "n10", 0); linkat(d, "f", d, "k3", 0); symlinkat("f", d, "s3"); unlinkat(d, "n10", 0); unlinkat(d, "m", AT_REMOVEDIR);
    fchmodat(d, "f", 0644, 0); fchownat(d, "f", -1, -1, 0); utimensat(d, "f", 0, 0); futimesat(d, "f", times); getdents64(d, b, 4096);
    fchmod(f, 0644); fchown(f, -1, -1); futimens(f, 0); futimes(f, times); fsetxattr(f, "user.x", "y", 1, 0); fgetxattr(f, "user.x", b, 9); flistxattr(f, b, 99); fremovexattr(f, "user.x");
    fstatfs(f, &fs); fstatfs64(f, (struct statfs64 *)&fs); fstatvfs(f, &vfs); fstatvfs64(f, (struct statvfs64 *)&vfs); fpathconf(f, _PC_LINK_MAX);
    struct flock l = {F_RDLCK}; fcntl(f, F_GETLK, &l); fcntl64(f, F_GETFL); __fcntl(f, F_GETFD); flock(f, LOCK_SH); lockf(f, F_TEST, 0); lockf64(f, F_TEST, 0); int n; ioctl(f, FIONREAD, &n);
    DIR *stream = fdopendir(dup(d)); readdir(stream); closedir(stream); fchdir(d); stat("f", &s); lstat("l", &s); statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x); close(open("f", O_RDONLY)); mknod("n11", S_IFIFO | 0644, 0); rename("n11", "n12"); chdir("/");
    close(d); close(f);
    report("descriptors and relative names");
}

PROBE(beside) {
    char b[8192]; wordexp_t words; glob64_t found;
    top = strdup(B("out/x"));
    mkdir(top, 0755);
    fill(); read_paths(); write_paths(); by_descriptor();
    ftw(top, seen, 9); ftw64(top, (void *)seen, 9); nftw(top, seen_full, 9, FTW_PHYS); nftw64(top, (void *)seen_full, 9, FTW_PHYS);
    char *roots[] = {(char *)top, 0}; FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, 0); fts_read(walk); fts_close(walk); ftok(N("f"), 1);
    chdir(top); free(get_current_dir_name()); chdir("/");
    report("walks");
    access(P("a"), F_OK);
}

PROBE(passed) {
    top = strdup(P("new"));
    mkdir(top, 0755);
    fill(); read_paths(); write_paths(); by_descriptor();
}

PROBE(identities) {
    gid_t none[1] = {0}; int head[2] = {0x20080522, 0}, sets[6] = {-1, -1, 0, -1, -1, 0};
    setgroups(0, none); initgroups("root", 0); capset(head, sets); setegid(0); seteuid(0); setgid(0); setregid(0, 0); setresgid(0, 0, 0); setreuid(0, 0); setresuid(0, 0, 0); setuid(0); setfsuid(0); setfsgid(0);
    mount("none", "/nonexistent", "tmpfs", 0, 0); umount("/nonexistent"); umount2("/nonexistent", 0); chroot("/nonexistent"); setns(-1, 0); unshare(0);
    struct stat s; stat(P("a"), &s);
    report("identities");
}

