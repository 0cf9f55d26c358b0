/* Uses descriptors, names and results that libc makes without a hooked call. */
#include "probe.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <libintl.h>
#include <link.h>
#include <locale.h>
#include <mntent.h>
#include <nl_types.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <linux/fs.h>
extern char **environ;
int __fcntl(int, int, ...);
FILE *__setmntent(const char *, const char *);

/* Prints the flags of a descriptor by name, because their values depend on the processor. */
static void flags_of(const char *what, int fd) {
    int flags = fcntl(fd, F_GETFL);
    say("%s: mode %d path %d directory %d append %d nonblock %d async %d noatime %d", what, flags & O_ACCMODE,
        !!(flags & O_PATH), !!(flags & O_DIRECTORY), !!(flags & O_APPEND), !!(flags & O_NONBLOCK), !!(flags & O_ASYNC),
        !!(flags & O_NOATIME));
}

PROBE(flags) {
    int fd = open(P("a"), O_RDONLY | O_NONBLOCK), d = open(P("d"), O_RDONLY | O_DIRECTORY);
    struct stat s, t;
    flags_of("a file", fd);
    flags_of("a directory", d);
    CALL(fcntl(fd, F_SETFL, 0));
    flags_of("cleared", fd);
    CALL(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
    flags_of("set", fd);
    CALL(fstat(fd, &s));
    CALL(stat(P("a"), &t));
    say("one file %d", same(&s, &t));
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 20);
    say("copied to %d, closed by exec %d", copy, fcntl(copy, F_GETFD));
    flags_of("the copy", copy);
    CALL(fcntl(fd, 1034 /* F_GET_SEALS */));
    say("%d %d", fcntl(d, F_GETFL) == fcntl64(d, F_GETFL), fcntl(d, F_GETFL) == __fcntl(d, F_GETFL));
}

PROBE(path_only) {
    struct stat s, t;
    char byte, name[64], to[8192] = {0};
    int file = OPEN(open(P("a"), O_PATH)), d = OPEN(open(P("d"), O_PATH | O_DIRECTORY | O_CLOEXEC));
    int plain = OPEN(open(P("d/sub"), O_PATH));
    flags_of("a file", file);
    flags_of("a directory", d);
    flags_of("a directory that was not called one", plain);
    CALL(read(file, &byte, 1));
    CALL(fcntl(d, F_SETFL, 0));
    CALL(fcntl(d, F_GETFD));
    CALL(fstat(file, &s));
    CALL(stat(P("a"), &t));
    say("one file %d", same(&s, &t));
    CALL(fstat(d, &s));
    CALL(stat(P("d"), &t));
    say("one file %d", same(&s, &t));
    CONTENTS(openat(d, "b", O_RDONLY));
    OPEN(openat(d, "nope", O_RDONLY));
    OPEN(open(P("a"), O_PATH | O_DIRECTORY));
    OPEN(open(P("nope"), O_PATH));
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    CONTENTS(open(name, O_RDONLY));
    CALL(readlink(name, to, sizeof to));
    say("%s", to);
    CALL(fchdir(d));
    say("%s", getcwd(NULL, 0));
    CONTENTS(open("b", O_RDONLY));
    CALL(faccessat(d, "sub", X_OK, 0));
}

/* Opens with O_PATH a file that an ordinary user may not read. */
PROBE(path_of_unreadable) {
    int fd = OPEN(open(P("closed"), O_PATH));
    struct stat s, t;
    CALL(fstat(fd, &s));
    CALL(stat(P("closed"), &t));
    say("one file %d", same(&s, &t));
}

/* Locks staged descriptors. The shim then exchanges them for descriptors of the originals, whose flags and offsets must be
 * the same. */
PROBE(promoted) {
    char text[8] = {0};
    struct flock whole = {.l_type = F_RDLCK};
    int fd = open(P("a"), O_RDONLY | O_CLOEXEC), other = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY);
    CALL(read(fd, text, 2));
    CALL(flock(fd, LOCK_SH));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(read(fd, text, 2));
    say("%s", text);
    CALL(fcntl(fd, F_GETFD));
    flags_of("after flock", fd);
    CALL(fcntl(other, F_SETLK, &whole));
    CALL(fcntl(other, F_GETFD));
    /* Exchanging a third descriptor of the file must not end the lock that the second descriptor holds. */
    int third = open(P("a"), O_RDONLY);
    CALL(lockf(third, F_TEST, 0));
    fflush(stdout);
    if (!fork()) {
        struct flock asked = {.l_type = F_WRLCK};
        int writer = open(P("a"), O_RDWR);
        CALL(fcntl(writer, F_GETLK, &asked));
        say("locked by the parent %d", asked.l_type == F_RDLCK && asked.l_pid == getppid());
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    CALL(flock(d, LOCK_EX));
    OPEN(openat(d, "b", O_RDONLY));
    CALL(unlink(P("d/b")));
    CALL(flock(open(P("d/sub/c"), O_RDONLY), LOCK_EX));
}

PROBE(tested) {
    int ready[2], fd = open(P("a"), O_RDONLY);
    char byte;
    if (pipe(ready))
        return;
    pid_t child = fork();
    if (child == 0) {
        lockf(open(P("a"), O_RDWR), F_LOCK, 0);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    CALL(read(ready[0], &byte, 1));
    CALL(lockf64(fd, F_TEST, 0));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CALL(lockf64(fd, F_TEST, 0));
}

/* Locks and reads removed and replaced files by descriptors that were opened before. */
PROBE(removed) {
    char text[8] = {0};
    int fd = open(P("a"), O_RDONLY), replaced = open(P("d/b"), O_RDONLY);
    CALL(unlink(P("a")));
    CALL(flock(fd, LOCK_EX));
    CALL(read(fd, text, 5));
    say("%s", text);
    write_file(P("new"), "another\n");
    CALL(rename(P("new"), P("d/b")));
    CALL(flock(replaced, LOCK_EX));
    CALL(read(replaced, text, 5));
    say("%s", text);
}

PROBE(file_system_s_own) {
    int flags = 0, size = 0, fd = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY);
    CALL(ioctl(fd, FS_IOC_GETFLAGS, &flags));
    CALL(ioctl(d, FS_IOC_GETFLAGS, &flags));
    CALL(ioctl(fd, FIGETBSZ, &size));
    CALL(ioctl(fd, FIONREAD, &size));
    say("%d", size);
    union {
        struct file_handle handle;
        char room[256];
    } h;
    int mount = 0, theirs = 0;
    h.handle.handle_bytes = 128;
    CALL(name_to_handle_at(AT_FDCWD, E, &h.handle, &theirs, 0));
    CALL(name_to_handle_at(open(P("d"), O_RDONLY), "b", &h.handle, &mount, 0));
    say("on the prefix's file system %d", mount == theirs);
    CALL(name_to_handle_at(open(P("a"), O_RDONLY), "", &h.handle, &mount, AT_EMPTY_PATH));
    say("on the prefix's file system %d", mount == theirs);
}

PROBE(descriptor_alone) {
    char name[64];
    int fd = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY | O_DIRECTORY);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CALL(linkat(AT_FDCWD, name, AT_FDCWD, P("linked"), AT_SYMLINK_FOLLOW));
    CONTENTS(open(P("linked"), O_RDONLY));
    CALL(fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH));
    CALL(chmod(name, 0600));
    attributes(P("a"));
    snprintf(name, sizeof name, "/proc/%d/fd/%d/made", getpid(), d);
    write_file(name, "by another name\n");
    CONTENTS(open(P("d/made"), O_RDONLY));
    snprintf(name, sizeof name, "/dev/fd/%d/x", d);
    CALL(mkdir(name, 0700));
    listing(P("d"));
    fflush(stdout);
    pid_t parent = getpid();
    if (!fork()) {
        close(fd);
        snprintf(name, sizeof name, "/proc/%d/fd/%d", parent, fd);
        int theirs = OPEN(open(name, O_WRONLY | O_TRUNC));
        CALL(write(theirs, "theirs\n", 7));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    CONTENTS(open(P("a"), O_RDONLY));
}

/* Reads files by the names that descriptors have in /proc and /dev. */
PROBE(through_names) {
    char name[64], text[64];
    struct stat s, t;
    int fd = open(P("a"), O_RDONLY), d = open(P("full"), O_RDONLY | O_DIRECTORY);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CALL(read(fd, text, 2));
    int again = OPEN(open(name, O_RDONLY));
    flags_of("again", again);
    CALL(fstat(again, &s));
    CALL(stat(name, &t));
    say("one file %d", same(&s, &t));
    CALL(stat(P("a"), &t));
    say("one file %d", same(&s, &t));
    contents(again);
    CALL(lstat(name, &t));
    say("a link %d", S_ISLNK(t.st_mode));
    OPEN(open(name, O_RDONLY | O_NOFOLLOW));
    say("%s", realpath(name, NULL));
    snprintf(name, sizeof name, "/dev/fd/%d/1", d);
    CONTENTS(open(name, O_RDONLY));
    CALL(access(name, R_OK));
    snprintf(name, sizeof name, "/proc/thread-self/fd/%d", d);
    listing(name);
    snprintf(name, sizeof name, "/proc/%d/fd/%d/", getpid(), d);
    CALL(stat(name, &s));
    CALL(stat(P("full"), &t));
    say("one file %d", same(&s, &t));
    dup2(fd, 0);
    FILE *f = POINTER(fopen("/dev/stdin", "r"));
    say("%s", fgets(text, sizeof text, f));
    CALL(fstat(fileno(f), &s));
    CALL(stat("/dev/stdin", &t));
    say("one file %d", same(&s, &t));
}

PROBE(limits) {
    int fd = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY);
    for (int name = 0; name < 21; name++) {
        errno = 0;
        long of_file = pathconf(P("a"), name), by_file = fpathconf(fd, name);
        say("%d: %ld %ld %ld %ld errno %d", name, of_file, by_file, pathconf(P("d"), name), fpathconf(d, name), errno);
    }
    CALL(pathconf(P("nope"), _PC_NAME_MAX));
    CALL(pathconf(P("a/x"), _PC_LINK_MAX));
    CALL(pathconf(P("nope"), _PC_PATH_MAX));
    CALL(pathconf(P("a"), 1000));
    CALL(fpathconf(12345, _PC_NAME_MAX));
}

PROBE(keys) {
    struct stat s;
    CALL(stat(P("a"), &s));
    say("%d", ftok(P("a"), 'k') == (key_t)((s.st_ino & 0xffff) | (s.st_dev & 0xff) << 16 | 'k' << 24));
    CALL(ftok(P("nope"), 1));
}

PROBE(current) {
    CALL(chdir(P("d/sub")));
    say("%s", get_current_dir_name());
    setenv("PWD", P("to-d/sub"), 1);
    say("%s", get_current_dir_name());
    setenv("PWD", P("nope"), 1);
    say("%s", get_current_dir_name());
}

PROBE(messages) {
    setlocale(LC_ALL, "");
    say("%s", bindtextdomain("made", P("share")));
    say("%s", bindtextdomain("made", NULL));
    say("%s", dgettext("made", "hello"));
    say("%s", bindtextdomain("other", P("no-share")));
    say("%s", dgettext("other", "hello"));
    say("%s", bindtextdomain("plain", "/usr/share/locale"));
    say("%s", bindtextdomain("nothing", NULL) ? "a default" : "none");
    nl_catd catalogue = POINTER(catopen(P("made.cat"), 0));
    say("%s", catgets(catalogue, 1, 1, "missing"));
    CALL(catclose(catalogue));
    CALL(catopen(P("nope.cat"), 0) == (nl_catd)-1);
    FILE *f = POINTER(setmntent(P("fstab"), "r"));
    say("%s", getmntent(f)->mnt_dir);
    endmntent(f);
    POINTER(setmntent(P("nope"), "r"));
    f = POINTER(__setmntent(P("fstab"), "r"));
    say("%s", getmntent(f)->mnt_dir);
}

PROBE(entries) {
    char buffer[4096];
    struct stat s;
    int right = 0, d = open(P("full"), O_RDONLY | O_DIRECTORY);
    long n = getdents64(d, buffer, sizeof buffer);
    for (char *at = buffer; at < buffer + n; at += ((struct dirent *)at)->d_reclen)
        right += !fstatat(d, ((struct dirent *)at)->d_name, &s, AT_SYMLINK_NOFOLLOW) && s.st_ino == ((struct dirent *)at)->d_ino;
    say("%d", right);
}

PROBE(watched_by_all) {
    char buffer[4096];
    int queue = fanotify_init(FAN_NONBLOCK, O_RDONLY), d = open(P("d"), O_RDONLY | O_DIRECTORY);
    CALL(fanotify_mark(queue, FAN_MARK_ADD, FAN_OPEN, d, "b"));
    int fd = open(P("d/b"), O_RDWR);
    say("read %d", read(queue, buffer, sizeof buffer) > 0);
    close(fd);
}

PROBE(watched) {
    char name[64], buffer[4096] = {0};
    int d = open(P("d"), O_RDONLY | O_DIRECTORY), queue = inotify_init1(IN_NONBLOCK);
    snprintf(name, sizeof name, "/proc/self/fd/%d", d);
    CALL(inotify_add_watch(queue, name, IN_CREATE));
    write_file(P("d/new"), "x\n");
    struct inotify_event *event = (struct inotify_event *)buffer;
    say("read %d: %s", read(queue, buffer, sizeof buffer) > 0, event->name);
}

static void handler(int signal) { say("signal %d", signal); }
static void *shell(void *number) {
    char command[8300];
    snprintf(command, sizeof command, "cat %s > /dev/null; sleep 0.%d", P("a"), (int)(long)number);
    return (void *)(long)system(command);
}

/* Runs shells in several threads at the same time, and prints whether the signal handlers are the same afterwards. */
PROBE(shells) {
    pthread_t threads[6];
    void *status;
    struct sigaction now;
    signal(SIGINT, handler);
    for (long i = 0; i < 6; i++)
        pthread_create(threads + i, NULL, shell, (void *)(6 - i));
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], &status);
        say("status %ld", (long)status);
    }
    sigaction(SIGINT, NULL, &now);
    say("handled %d", now.sa_handler == handler);
    sigaction(SIGQUIT, NULL, &now);
    say("default %d", now.sa_handler == SIG_DFL);
    say("shell's own signals: %d", system("kill -INT $$"));
    say("status %d", system("exit 3"));
    CALL(raise(SIGINT));
    errno = 77;
    system("true");
    say("errno %d", errno);
}

PROBE(many_streams) {
    FILE *streams[40];
    char text[8300];
    snprintf(text, sizeof text, "cat %s", P("a"));
    for (int i = 0; i < 40; i++)
        streams[i] = popen(text, "r");
    for (int i = 0; i < 40; i++) {
        int right = streams[i] && fgets(text, sizeof text, streams[i]) && !strcmp(text, "hello\n");
        if (pclose(streams[i]) || !right)
            say("stream %d fails", i);
    }
    say("done");
}

/* Spawns a program and waits for it. */
static void spawn(posix_spawn_file_actions_t *actions, char **words) {
    pid_t child;
    int failed = posix_spawnp(&child, words[0], actions, NULL, words, environ), status = 0;
    if (!failed)
        waitpid(child, &status, 0);
    say("spawned: %d, ends with %d", failed, WEXITSTATUS(status));
}

PROBE(spawned_elsewhere) {
    posix_spawn_file_actions_t actions;
    int d = open(P("d"), O_RDONLY | O_DIRECTORY);
    char *pwd[] = {"sh", "-c", "pwd; cat b; echo more > made", NULL};
    posix_spawn_file_actions_init(&actions);
    CALL(posix_spawn_file_actions_addfchdir_np(&actions, d));
    spawn(&actions, pwd);
    CONTENTS(open(P("d/made"), O_RDONLY));
    posix_spawn_file_actions_init(&actions);
    CALL(posix_spawn_file_actions_addchdir_np(&actions, P("to-d")));
    spawn(&actions, pwd);
}

PROBE(spawned_with_a_file) {
    posix_spawn_file_actions_t actions;
    char *words[] = {"sh", "-c", "cat; readlink /proc/self/fd/0", NULL};
    posix_spawn_file_actions_init(&actions);
    CALL(posix_spawn_file_actions_addopen(&actions, 0, P("a"), O_RDONLY, 0));
    spawn(&actions, words);
}

/* Changes the root in a vfork child, which must not affect the parent. */
PROBE(root_of_a_child) {
    int status;
    pid_t child = vfork();
    if (child == 0)
        _exit(chroot("/usr") ? 1 : access("/bin/sh", X_OK) ? 2 : 0);
    waitpid(child, &status, 0);
    say("the child ends with %d", WEXITSTATUS(status));
    CONTENTS(open(P("a"), O_RDONLY));
    CALL(access(P("nope"), F_OK));
}

/* Prints the directories that the loader would search. */
PROBE(search_path) {
    void *library = POINTER(dlopen(P("lib/libone.so"), RTLD_NOW));
    Dl_serinfo size;
    CALL(dlinfo(library, RTLD_DI_SERINFOSIZE, &size));
    Dl_serinfo *info = malloc(size.dls_size);
    info->dls_size = size.dls_size;
    info->dls_cnt = size.dls_cnt;
    CALL(dlinfo(library, RTLD_DI_SERINFO, info));
    for (unsigned i = 0; i < info->dls_cnt; i++)
        if (!strncmp(info->dls_serpath[i].dls_name, M, strlen(M)) || strstr(info->dls_serpath[i].dls_name, "pyshm-"))
            say("%s", info->dls_serpath[i].dls_name);
}

/* Opens a file for writing by a name of the file's descriptor, and prints whether the write reached the original. */
static void by_spelling(const char *name) {
    char text[8192] = {0};
    struct stat s, t;
    CALL(readlink(name, text, sizeof text - 1));
    say("%s", text);
    int fd = OPEN(open(name, O_WRONLY | O_APPEND));
    CALL(write(fd, "+", 1));
    CALL(fstat(fd, &s));
    CALL(stat(P("a"), &t));
    say("one file %d", same(&s, &t));
    close(fd);
}

PROBE(other_spellings) {
    char name[64];
    int fd = open(P("a"), O_RDONLY), copy;
    const char *const spellings[] = {"/proc/self/./fd/%d", "/proc//self/fd/%d", "//proc/self/fd//%d", "/dev/./fd/%d", NULL};
    for (int i = 0; spellings[i]; i++) {
        snprintf(name, sizeof name, spellings[i], fd);
        by_spelling(name);
    }
    snprintf(name, sizeof name, "/proc/self/task/%d/fd/%d", getpid(), fd);
    by_spelling(name);
    CALL(chdir("/proc/self/fd"));
    snprintf(name, sizeof name, "%d", fd);
    by_spelling(name);
    int links = OPEN(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
    copy = OPEN(openat(links, name, O_WRONLY | O_APPEND));
    CALL(write(copy, "+", 1));
    CONTENTS(open(P("a"), O_RDONLY));
}

/* Calls freopen without a name. */
PROBE(reopened_stream) {
    struct stat s, t;
    FILE *file = freopen(NULL, "r+", fopen(P("a"), "r"));
    say("%s", file ? "ok" : strerror(errno));
    fputs("HELLO", file);
    fflush(file);
    CALL(fstat(fileno(file), &s));
    CALL(stat(P("a"), &t));
    say("one file %d", same(&s, &t));
    CONTENTS(open(P("a"), O_RDONLY));
    file = freopen(NULL, "r", fopen(P("d/b"), "r"));
    CALL(fstat(fileno(file), &s));
    CALL(stat(P("d/b"), &t));
    say("one file %d", same(&s, &t));
}

/* Uses descriptors of files that were replaced, removed or rewritten after they were opened. */
PROBE(replaced) {
    struct stat s, t;
    struct statx x;
    int fd = open(P("d/b"), O_RDONLY), removed = open(P("read-only"), O_RDONLY), changed = open(P("lib/os.py"), O_RDONLY);
    CALL(stat(P("d/b"), &t));
    write_file(P("new"), "another\n");
    CALL(rename(P("new"), P("d/b")));
    CALL(fstat(fd, &s));
    say("as it was %d links %d size %d", s.st_ino == t.st_ino && s.st_dev == t.st_dev, (int)s.st_nlink, (int)s.st_size);
    CALL(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
    say("as it was %d links %d size %d", x.stx_ino == t.st_ino, x.stx_nlink, (int)x.stx_size);
    fchmod(fd, 0604);
    futimens(fd, (struct timespec[]){{1, 0}, {1, 0}});
    CALL(stat(P("d/b"), &t));
    say("mode %o", t.st_mode & 0777);
    CALL(stat(P("read-only"), &t));
    CALL(unlink(P("read-only")));
    CALL(fstat(removed, &s));
    say("as it was %d links %d", s.st_ino == t.st_ino && s.st_dev == t.st_dev, (int)s.st_nlink);
    write_file(P("lib/os.py"), "longer than it was\n");
    CALL(stat(P("lib/os.py"), &t));
    CALL(statx(changed, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
    say("one file %d size %d", x.stx_ino == t.st_ino, (int)x.stx_size);
}
