/*
 * Makes every call on every kind of staged object, in every kind of directory, by several spellings of the name. The tree
 * is that of `tree::matrix`: `M/objects` lists the objects, and `M/places` the directories that contain one of each.
 * A line is one call: its name, the object and what the program saw.
 */
#include "probe.h"

#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <linux/capability.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <utime.h>

static char objects[64][32], places[16][32];
static int object_count, place_count;

static int read_names(const char *list, char names[][32], int most) {
    FILE *file = fopen(B(list), "r");
    int n = 0;
    while (file && n < most && fscanf(file, "%31s", names[n]) == 1)
        n++;
    if (!n)
        say("failed to read %s", list), exit(1);
    fclose(file);
    return n;
}

static void start(void) {
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    umask(022);
    object_count = read_names("objects", objects, 64);
    place_count = read_names("places", places, 16);
}

static long lines;
static const char *line_call, *line_path;

static void line(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("%s %s: ", line_call, line_path);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    lines++;
}

static void result(long n) {
    if (n == -1)
        line("%s", strerrorname_np(errno));
    else
        line("%ld", n);
}

static void shown(int n, const struct stat *s) {
    if (n)
        result(n);
    else if (s->st_mtim.tv_sec < 1500000000)
        line("%o %d %d:%d %ld %ld.%09ld", s->st_mode, (int)s->st_nlink, s->st_uid, s->st_gid,
             S_ISDIR(s->st_mode) ? 0 : (long)s->st_size, s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
    else
        line("%o %d %d:%d %ld", s->st_mode, (int)s->st_nlink, s->st_uid, s->st_gid,
             S_ISDIR(s->st_mode) ? 0 : (long)s->st_size);
}

static void shown_x(int n, const struct statx *s) {
    if (n)
        result(n);
    else
        line("%x %o %u %u:%u", s->stx_mask & STATX_BASIC_STATS, s->stx_mode, s->stx_nlink, s->stx_uid, s->stx_gid);
}

/* What an open descriptor is and gives. */
static void opened(int fd) {
    if (fd < 0) {
        result(-1);
        return;
    }
    struct stat s = {0};
    char text[24] = "";
    int flags = fcntl(fd, F_GETFL), same = fstat(fd, &s);
    ssize_t n = read(fd, text, sizeof text - 1);
    const char *why = n < 0 ? strerrorname_np(errno) : "";
    for (ssize_t i = 0; i < n; i++)
        if (text[i] < ' ')
            text[i] = '.';
    off_t at = S_ISREG(s.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
    line("flags %x fd flags %d stat %d %o %d:%d read %zd%s %s at %ld", flags, fcntl(fd, F_GETFD), same, s.st_mode, s.st_uid,
         s.st_gid, n, why, text, (long)at);
    close(fd);
}

static void text(ssize_t n, const char *bytes) {
    if (n < 0)
        result(n);
    else
        line("%zd %.*s", n, (int)n, bytes);
}

static int unsorted(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* The names and types of a directory, sorted. */
static void listed(const char *path) {
    struct dirent **found = NULL;
    int n = scandir(path, &found, NULL, unsorted);
    if (n < 0) {
        result(n);
        return;
    }
    char all[4096];
    size_t length = 0;
    for (int i = 0; i < n; i++) {
        length += snprintf(all + length, sizeof all - length, " %s/%d", found[i]->d_name, found[i]->d_type);
        if (length >= sizeof all)
            length = sizeof all - 1;
        free(found[i]);
    }
    free(found);
    line("%d%s", n, all + (n ? 0 : sizeof all));
}

static long met;
static int meet(const char *path, const struct stat *s, int kind, struct FTW *where) {
    (void)s, (void)where;
    for (const char *c = path; *c; c++)
        met += (unsigned char)*c;
    met += 1000 * kind;
    return 0;
}

/* Whether this is call number `wanted`; sets the name of the call. */
#define IS(call) (number++ == wanted && (line_call = (call), 1))

/* Makes the call with this number that reads. Returns whether there is such a number. `at` and `name` are a directory and a
   name below it; `path` is the whole path. */
static int look(int wanted, const char *path, int at, const char *name) {
    int number = 0;
    struct stat s;
    struct statx x;
    struct statfs fs;
    struct statvfs vfs;
    static char buffer[PATH_MAX];
    if (IS("stat")) return shown(stat(path, &s), &s), 1;
    if (IS("lstat")) return shown(lstat(path, &s), &s), 1;
    if (IS("fstatat")) return shown(fstatat(at, name, &s, 0), &s), 1;
    if (IS("fstatat-nofollow")) return shown(fstatat(at, name, &s, AT_SYMLINK_NOFOLLOW), &s), 1;
    if (IS("fstatat-no-automount")) return shown(fstatat(at, name, &s, AT_NO_AUTOMOUNT), &s), 1;
    if (IS("fstatat-unknown-flag")) return shown(fstatat(at, name, &s, 0x40000000), &s), 1;
    if (IS("statx")) return shown_x(statx(at, name, 0, STATX_ALL, &x), &x), 1;
    if (IS("statx-nofollow")) return shown_x(statx(at, name, AT_SYMLINK_NOFOLLOW, STATX_MODE, &x), &x), 1;
    if (IS("statx-sync")) return shown_x(statx(at, name, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &x), &x), 1;
    if (IS("statx-unknown-mask")) return shown_x(statx(at, name, 0, 0x80000000, &x), &x), 1;
    for (int mode = 0; mode < 8; mode++) {
        static const char *const names[][4] = {
            {"access-0", "access-x", "access-w", "access-wx"}, {"access-r", "access-rx", "access-rw", "access-rwx"}};
        if (IS(names[mode >> 2][mode & 3])) return result(access(path, mode)), 1;
        if (IS("faccessat-eaccess")) return result(faccessat(at, name, mode, AT_EACCESS)), 1;
        if (IS("faccessat-nofollow")) return result(faccessat(at, name, mode, AT_SYMLINK_NOFOLLOW)), 1;
    }
    if (IS("access-8")) return result(access(path, 8)), 1;
    if (IS("euidaccess")) return result(euidaccess(path, R_OK)), 1;
    if (IS("open")) return opened(open(path, O_RDONLY | O_NONBLOCK)), 1;
    if (IS("open-cloexec")) return opened(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)), 1;
    if (IS("open-nofollow")) return opened(openat(at, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW)), 1;
    if (IS("open-directory")) return opened(openat(at, name, O_RDONLY | O_DIRECTORY)), 1;
    if (IS("open-path")) return opened(openat(at, name, O_PATH)), 1;
    if (IS("open-path-nofollow")) return opened(openat(at, name, O_PATH | O_NOFOLLOW)), 1;
    if (IS("open-path-directory")) return opened(openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC)), 1;
    if (IS("open-noatime")) return opened(openat(at, name, O_RDONLY | O_NONBLOCK | O_NOATIME)), 1;
    if (IS("open-append")) return opened(openat(at, name, O_RDONLY | O_NONBLOCK | O_APPEND)), 1;
    if (IS("open-create-directory")) return opened(openat(at, name, O_RDONLY | O_CREAT | O_DIRECTORY | O_NONBLOCK, 0600)), 1;
    if (IS("open-exclusive")) return opened(openat(at, name, O_RDONLY | O_EXCL | O_NONBLOCK)), 1;
    if (IS("openat2-beneath")) {
        struct { unsigned long long flags, mode, resolve; } how = {O_RDONLY | O_NONBLOCK, 0, 0x08};
        return opened(syscall(SYS_openat2, at, name, &how, sizeof how)), 1;
    }
    if (IS("openat2-no-links")) {
        struct { unsigned long long flags, mode, resolve; } how = {O_RDONLY | O_NONBLOCK, 0, 0x04};
        return opened(syscall(SYS_openat2, at, name, &how, sizeof how)), 1;
    }
    if (IS("readlink")) { ssize_t n = readlink(path, buffer, sizeof buffer); return text(n, buffer), 1; }
    if (IS("readlink-3")) { ssize_t n = readlink(path, buffer, 3); return text(n, buffer), 1; }
    if (IS("readlink-0")) return result(readlink(path, buffer, 0)), 1;
    if (IS("readlinkat")) { ssize_t n = readlinkat(at, name, buffer, sizeof buffer); return text(n, buffer), 1; }
    if (IS("realpath")) { if (realpath(path, buffer)) line("%s", buffer); else result(-1); return 1; }
    if (IS("canonicalize")) {
        char *real = canonicalize_file_name(path);
        if (real) line("%s", real); else result(-1);
        return free(real), 1;
    }
    if (IS("opendir")) return listed(path), 1;
    if (IS("nftw")) { met = 0; int n = nftw(path, meet, 8, FTW_PHYS); if (n) result(n); else line("%ld", met); return 1; }
    if (IS("glob")) {
        glob_t found;
        snprintf(buffer, sizeof buffer, "%s/*", path);
        int n = glob(buffer, 0, NULL, &found);
        line("%d %zu %s", n, n ? 0 : found.gl_pathc, n || !found.gl_pathc ? "" : found.gl_pathv[0]);
        if (!n) globfree(&found);
        return 1;
    }
    if (IS("getxattr")) { ssize_t n = getxattr(path, "user.note", buffer, sizeof buffer); return text(n, buffer), 1; }
    if (IS("lgetxattr")) { ssize_t n = lgetxattr(path, "user.note", buffer, sizeof buffer); return text(n, buffer), 1; }
    if (IS("getxattr-size")) return result(getxattr(path, "user.note", NULL, 0)), 1;
    if (IS("getxattr-small")) return result(getxattr(path, "user.note", buffer, 1)), 1;
    if (IS("getxattr-none")) return result(getxattr(path, "user.none", buffer, sizeof buffer)), 1;
    if (IS("getxattr-acl")) return result(getxattr(path, "system.posix_acl_access", buffer, sizeof buffer)), 1;
    if (IS("listxattr")) return result(listxattr(path, buffer, sizeof buffer)), 1;
    if (IS("llistxattr-size")) return result(llistxattr(path, NULL, 0)), 1;
    if (IS("statfs")) { int n = statfs(path, &fs); if (n) result(n); else line("%lx %ld", (long)fs.f_type, (long)fs.f_namelen); return 1; }
    if (IS("statvfs")) { int n = statvfs(path, &vfs); if (n) result(n); else line("%ld %lx", (long)vfs.f_namemax, vfs.f_flag); return 1; }
    if (IS("pathconf")) return result(pathconf(path, _PC_LINK_MAX)), 1;
    if (IS("pathconf-name")) return result(pathconf(path, _PC_NAME_MAX)), 1;
    if (IS("inotify")) {
        int watch = inotify_init1(0);
        long n = inotify_add_watch(watch, path, IN_CREATE);
        return result(n), close(watch), 1;
    }
    if (IS("fopen")) {
        /* An open of a named pipe waits. */
        FILE *file = strstr(name, "fifo") ? NULL : fopen(path, "re");
        if (!file) return result(-1), 1;
        size_t n = fread(buffer, 1, 24, file);
        return line("%zu %d", n, ferror(file)), fclose(file), 1;
    }
    if (IS("chdir")) {
        int back = open("/", O_PATH), kept = open(".", O_PATH);
        int n = chdir(path);
        if (n) result(n); else if (getcwd(buffer, sizeof buffer)) line("%s", buffer); else result(-1);
        if (fchdir(kept)) result(-1);
        return close(back), close(kept), 1;
    }
    if (IS("fchdir")) {
        int kept = open(".", O_PATH), fd = openat(at, name, O_PATH | O_NONBLOCK);
        int n = fchdir(fd);
        if (n) result(n); else if (getcwd(buffer, sizeof buffer)) line("%s", buffer); else result(-1);
        if (fchdir(kept)) result(-1);
        return close(fd), close(kept), 1;
    }
    if (IS("connect")) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path) return line("too long"), 1;
        strcpy(address.sun_path, path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        long n = connect(fd, (void *)&address, sizeof address);
        return result(n), close(fd), 1;
    }
    if (IS("by-descriptor")) {
        int fd = openat(at, name, O_RDONLY | O_NONBLOCK);
        if (fd < 0) return result(-1), 1;
        snprintf(buffer, sizeof buffer, "/proc/self/fd/%d", fd);
        int n = stat(buffer, &s);
        return shown(n, &s), close(fd), 1;
    }
    if (IS("fd-name")) {
        int fd = openat(at, name, O_PATH | O_NOFOLLOW);
        if (fd < 0) return result(-1), 1;
        char proc[64];
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(proc, buffer, sizeof buffer);
        return text(n, buffer), close(fd), 1;
    }
    if (IS("lock")) {
        int fd = openat(at, name, O_RDONLY | O_NONBLOCK);
        if (fd < 0) return result(-1), 1;
        int n = flock(fd, LOCK_SH | LOCK_NB);
        return result(n), close(fd), 1;
    }
    return 0;
}

/* Makes the call with this number that changes the object. */
static int change(int wanted, const char *path, int at, const char *name) {
    int number = 0;
    struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}}, set[2] = {{7, 8}, {1234567890, 9}}, kept[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
    char beside[PATH_MAX];
    snprintf(beside, sizeof beside, "%s.new", path);
    if (IS("open-write")) return opened(open(path, O_WRONLY | O_NONBLOCK)), 1;
    if (IS("open-read-write")) return opened(open(path, O_RDWR | O_NONBLOCK)), 1;
    if (IS("write")) {
        int fd = open(path, O_WRONLY | O_NONBLOCK);
        if (fd < 0) return result(fd), 1;
        long n = write(fd, "XY", 2);
        return result(n), close(fd), 1;
    }
    if (IS("append")) {
        int fd = openat(at, name, O_WRONLY | O_APPEND | O_NONBLOCK);
        if (fd < 0) return result(fd), 1;
        long n = write(fd, "more", 4);
        return result(n), close(fd), 1;
    }
    if (IS("open-truncate")) return opened(open(path, O_WRONLY | O_TRUNC | O_NONBLOCK)), 1;
    if (IS("open-read-truncate")) return opened(open(path, O_RDONLY | O_TRUNC | O_NONBLOCK)), 1;
    if (IS("open-create")) return opened(open(path, O_RDWR | O_CREAT | O_NONBLOCK, 0640)), 1;
    if (IS("open-create-exclusive")) return opened(open(path, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0640)), 1;
    if (IS("open-create-nofollow")) return opened(open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0640)), 1;
    if (IS("open-write-directory")) return opened(open(path, O_WRONLY | O_DIRECTORY)), 1;
    if (IS("open-unnamed")) { int fd = open(path, O_RDWR | O_TMPFILE, 0600); result(fd < 0 ? -1 : 0); if (fd >= 0) close(fd); return 1; }
    if (IS("truncate")) return result(truncate(path, 3)), 1;
    if (IS("truncate-negative")) return result(truncate(path, -1)), 1;
    if (IS("ftruncate")) {
        int fd = open(path, O_RDWR | O_NONBLOCK);
        long n = ftruncate(fd, 2);
        return result(n), fd < 0 ? 0 : close(fd), 1;
    }
    if (IS("chmod")) return result(chmod(path, 0751)), 1;
    if (IS("chmod-setuid")) return result(chmod(path, 04755)), 1;
    if (IS("fchmodat-nofollow")) return result(fchmodat(at, name, 0700, AT_SYMLINK_NOFOLLOW)), 1;
    if (IS("fchmod")) {
        int fd = openat(at, name, O_RDONLY | O_NONBLOCK);
        long n = fchmod(fd, 0644);
        return result(n), fd < 0 ? 0 : close(fd), 1;
    }
    if (IS("fchmod-path")) {
        int fd = openat(at, name, O_PATH);
        long n = fchmod(fd, 0644);
        return result(n), fd < 0 ? 0 : close(fd), 1;
    }
    if (IS("chown-same")) return result(chown(path, -1, -1)), 1;
    if (IS("chown")) return result(chown(path, geteuid(), getegid())), 1;
    if (IS("chown-other")) return result(chown(path, 34567, -1)), 1;
    if (IS("lchown")) return result(lchown(path, geteuid(), -1)), 1;
    if (IS("fchownat-descriptor")) {
        int fd = openat(at, name, O_PATH | O_NOFOLLOW);
        long n = fchownat(fd, "", geteuid(), -1, AT_EMPTY_PATH);
        return result(n), fd < 0 ? 0 : close(fd), 1;
    }
    if (IS("utimensat-now")) return result(utimensat(at, name, now, 0)), 1;
    if (IS("utimensat")) return result(utimensat(at, name, set, 0)), 1;
    if (IS("utimensat-nofollow")) return result(utimensat(at, name, set, AT_SYMLINK_NOFOLLOW)), 1;
    if (IS("utimensat-omit")) return result(utimensat(at, name, kept, 0)), 1;
    if (IS("utime")) return result(utime(path, NULL)), 1;
    if (IS("futimens")) {
        int fd = openat(at, name, O_RDONLY | O_NONBLOCK);
        long n = futimens(fd, set);
        return result(n), fd < 0 ? 0 : close(fd), 1;
    }
    if (IS("setxattr")) return result(setxattr(path, "user.note", "new", 3, 0)), 1;
    if (IS("setxattr-create")) return result(setxattr(path, "user.note", "new", 3, XATTR_CREATE)), 1;
    if (IS("setxattr-replace")) return result(setxattr(path, "user.note", "new", 3, XATTR_REPLACE)), 1;
    if (IS("lsetxattr")) return result(lsetxattr(path, "user.note", "new", 3, 0)), 1;
    if (IS("fsetxattr")) {
        int fd = openat(at, name, O_RDONLY | O_NONBLOCK);
        long n = fsetxattr(fd, "user.note", "by fd", 5, 0);
        return result(n), fd < 0 ? 0 : close(fd), 1;
    }
    if (IS("removexattr")) return result(removexattr(path, "user.note")), 1;
    if (IS("lremovexattr")) return result(lremovexattr(path, "user.note")), 1;
    if (IS("rename")) return result(rename(path, beside)), 1;
    if (IS("rename-same")) return result(rename(path, path)), 1;
    if (IS("rename-onto-file")) return result(renameat(at, name, at, "file")), 1;
    if (IS("rename-onto-directory")) return result(renameat(at, name, at, "empty")), 1;
    if (IS("rename-file-onto")) return result(renameat(at, "file", at, name)), 1;
    if (IS("rename-directory-onto")) return result(renameat(at, "full", at, name)), 1;
    if (IS("rename-no-replace")) return result(renameat2(at, "file", at, name, RENAME_NOREPLACE)), 1;
    if (IS("rename-exchange")) return result(renameat2(at, name, at, "file", RENAME_EXCHANGE)), 1;
    if (IS("rename-out")) return result(renameat(at, name, AT_FDCWD, B("out/moved"))), 1;
    if (IS("rename-below-itself")) { snprintf(beside, sizeof beside, "%s/new", path); return result(rename(path, beside)), 1; }
    if (IS("link")) return result(link(path, beside)), 1;
    if (IS("linkat-follow")) return result(linkat(at, name, AT_FDCWD, beside, AT_SYMLINK_FOLLOW)), 1;
    if (IS("link-onto")) return result(linkat(at, "file", at, name, 0)), 1;
    if (IS("symlink-onto")) return result(symlinkat("file", at, name)), 1;
    if (IS("symlink-beside")) return result(symlink(name, beside)), 1;
    if (IS("unlink")) return result(unlink(path)), 1;
    if (IS("unlinkat-directory")) return result(unlinkat(at, name, AT_REMOVEDIR)), 1;
    if (IS("rmdir")) return result(rmdir(path)), 1;
    if (IS("remove")) return result(remove(path)), 1;
    if (IS("mkdir")) return result(mkdir(path, 0750)), 1;
    if (IS("mkdir-below")) { snprintf(beside, sizeof beside, "%s/new", path); return result(mkdir(beside, 0700)), 1; }
    if (IS("mknod")) return result(mknod(path, S_IFREG | 0600, 0)), 1;
    if (IS("mkfifo")) return result(mkfifo(beside, 0600)), 1;
    if (IS("bind")) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path) return line("too long"), 1;
        strcpy(address.sun_path, path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        long n = bind(fd, (void *)&address, sizeof address);
        return result(n), close(fd), 1;
    }
    if (IS("fopen-append")) {
        FILE *file = strstr(name, "fifo") ? NULL : fopen(path, "a");
        if (!file) return result(-1), 1;
        int n = fputs("added", file), closed = fclose(file);
        return line("%d %d", n < 0, closed), 1;
    }
    if (IS("temporary-below")) {
        snprintf(beside, sizeof beside, "%s/XXXXXX", path);
        int fd = mkstemp(beside);
        if (fd < 0) return result(-1), 1;
        return result(0), unlink(beside), close(fd), 1;
    }
    return 0;
}

/* The ways in which the matrix spells a name below a directory. */
static const char *const spellings[] = {"%s/%s/%s", "%s//%s/./%s", "%s/%s/../%2$s/%3$s", "%s/%s/%s/", "%s/%s/%s/.", "%s/%s/%s/.."};

static void look_at_all(const char *top, const char *as) {
    char path[PATH_MAX], place[PATH_MAX], shown_path[PATH_MAX];
    for (int p = 0; p < place_count; p++) {
        snprintf(place, sizeof place, "%s/%s", top, places[p]);
        int at = open(place, O_PATH | O_DIRECTORY);
        for (int o = 0; o < object_count; o++)
            for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
                snprintf(path, sizeof path, spellings[i], top, places[p], objects[o]);
                /* The call below a directory gets what follows the directory's name. */
                const char *name = i < 3 ? objects[o] : strstr(path + strlen(top), objects[o]);
                snprintf(shown_path, sizeof shown_path, "%s %zu %s/%s", as, i, places[p], objects[o]);
                line_path = shown_path;
                for (int n = 0; look(n, path, at, name); n++) {
                }
            }
        if (at >= 0)
            close(at);
    }
}

static void end(const char *as) {
    say("%s: %ld lines", as, lines);
    lines = 0;
}

PROBE(looking) {
    start();
    look_at_all(P("r"), "self");
    end("self");
}

/* Runs the reading calls in a child that changed its identity. Only root can. */
static void look_as(const char *as, void (*become)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        become();
        look_at_all(P("r"), as);
        end(as);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    say("%s ends with %x", as, status);
}
static void effective(void) { if (setegid(12345) || seteuid(12345)) _exit(1); }
static void file_system_user(void) { setfsgid(12345), setfsuid(12345); }
static void without_powers(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};
    if (syscall(SYS_capset, &head, none)) _exit(1);
}
static void read_power_alone(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct some[2] = {{.effective = 1 << 2, .permitted = 1 << 2}};
    if (syscall(SYS_capset, &head, some)) _exit(1);
}

PROBE(looking_as_others) {
    start();
    look_as("seteuid", effective);
    look_as("setfsuid", file_system_user);
    look_as("capset-none", without_powers);
    look_as("capset-read", read_power_alone);
}

/* What became of the object: its attributes, its first bytes and the names of its directory. */
static void aftermath(const char *place, const char *path) {
    struct stat s;
    line_call = "  then", shown(lstat(path, &s), &s);
    if (lstat(path, &s) == 0 && !S_ISFIFO(s.st_mode))
        line_call = "  open", opened(open(path, O_RDONLY | O_NONBLOCK));
    line_call = "  list", listed(place);
}

PROBE(changing) {
    start();
    char path[PATH_MAX], place[PATH_MAX], shown_path[PATH_MAX];
    /* A run makes the calls from number FIRST up to END, if there are so many. */
    int last = atoi(getenv("END")), more = 1;
    for (int n = atoi(getenv("FIRST")); more && n < last; n++)
        for (int p = 0; p < place_count; p++)
            for (int o = 0; o < object_count; o++) {
                /* Every line has a directory of its own. */
                snprintf(place, sizeof place, "%s/w/%02d/%02d/%s", E, n, o, places[p]);
                snprintf(path, sizeof path, "%s/%s", place, objects[o]);
                snprintf(shown_path, sizeof shown_path, "%s/%s", places[p], objects[o]);
                line_path = shown_path;
                int at = open(place, O_PATH | O_DIRECTORY);
                more = change(n, path, at, objects[o]);
                if (at >= 0)
                    close(at);
                if (more)
                    aftermath(place, path);
            }
    end("self");
}
