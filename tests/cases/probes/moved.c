/* Descriptors of files whose names change. */
#include "probe.h"
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>

static const char *shown(const char *text) {
    size_t length = strlen(E);
    return strncmp(text, E, length) ? text : text + length;
}

/* All that a descriptor tells. */
static void show(const char *what, int fd) {
    char name[64], to[4096] = {0}, text[64] = {0};
    struct stat s, t;
    fstat(fd, &s);
    say("%s: mode %o links %d size %d", what, s.st_mode, (int)s.st_nlink, S_ISDIR(s.st_mode) ? 0 : (int)s.st_size);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CALL(readlink(name, to, sizeof to - 1) > 0);
    say("  %s", shown(to));
    if (!S_ISDIR(s.st_mode)) {
        CALL(pread(fd, text, sizeof text - 1, 0));
        say("  %s", text);
        CONTENTS(open(name, O_RDONLY));
    }
    CALL(stat(name, &t));
    say("  one file %d", same(&s, &t));
}

static void change(int fd) {
    CALL(fchmod(fd, 0640));
    CALL(futimens(fd, (struct timespec[]){{1000, 0}, {1000, 0}}));
    CALL(fsetxattr(fd, "user.key", "value", 5, 0));
    CALL(fgetxattr(fd, "user.key", NULL, 0));
    CALL(fchown(fd, getuid(), getgid()));
}

PROBE(renamed) {
    int fd = open(P("a"), O_RDONLY), again = dup(fd), other = open(P("a"), O_RDONLY);
    char two[3] = {0};
    CALL(read(fd, two, 2));
    CALL(rename(P("a"), P("d/renamed")));
    write_file(P("a"), "another\n");
    change(fd);
    show("renamed", fd);
    show("its duplicate", again);
    show("another", other);
    CALL(read(again, two, 2));
    say("%s", two);
    attributes(P("a"));
    attributes(P("d/renamed"));
    CALL(fchdir(fd));
    fflush(stdout);
    if (!fork()) {
        show("inherited", fd);
        change(fd);
        exit(0);
    }
    wait(NULL);
}

PROBE(replaced) {
    int fd = open(P("d/b"), O_RDONLY), gone = open(P("lib/os.py"), O_RDONLY);
    FILE *stream = fopen(P("read-only"), "r");
    write_file(P("new"), "another\n");
    CALL(rename(P("new"), P("d/b")));
    CALL(unlink(P("lib/os.py")));
    CALL(unlink(P("read-only")));
    show("replaced", fd);
    show("removed", gone);
    show("a stream's", fileno(stream));
    change(fd);
    change(gone);
    attributes(P("d/b"));
    show("replaced", fd);
}

PROBE(by_other_names) {
    int fd = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY | O_DIRECTORY);
    CALL(symlink(E, B("to-env")));
    CALL(rename(B("to-env/a"), B("to-env/b")));
    CALL(renameat(AT_FDCWD, B("to-env/d"), AT_FDCWD, B("to-env/full/d")));
    show("by an alias", fd);
    show("a directory by an alias", d);
    CALL(unlink(B("to-env/b")));
    show("removed by an alias", fd);
    CALL(unlink(B("to-env")));
}

PROBE(directory) {
    struct stat s;
    int d = open(P("d"), O_RDONLY | O_DIRECTORY), sub = openat(d, "sub", O_RDONLY | O_DIRECTORY), fd = openat(sub, "c", O_RDONLY);
    CALL(rename(P("d"), P("moved")));
    CALL(mkdir(P("d"), 0755));
    write_file(P("d/b"), "another\n");
    show("directory", d);
    show("below", sub);
    show("a file below", fd);
    CONTENTS(openat(d, "b", O_RDONLY));
    OPEN(openat(d, "made", O_CREAT | O_WRONLY, 0644));
    CALL(mkdirat(sub, "made", 0755));
    CALL(renameat(d, "b", sub, "b"));
    CALL(fstatat(d, "b", &s, 0));
    CALL(linkat(sub, "b", d, "linked", 0));
    CALL(symlinkat("b", d, "link"));
    CALL(fchmodat(d, "made", 0600, 0));
    CALL(unlinkat(sub, "c", 0));
    change(sub);
    listing(P("d"));
    listing(P("moved"));
    listing(P("moved/sub"));
    show("a file below", fd);
    CALL(fchdir(sub));
    say("%s", shown(getcwd(NULL, 0)));
    DIR *stream = fdopendir(d);
    int n = 0;
    while (readdir(stream))
        n++;
    say("entries %d", n);
    int gone = open(P("full"), O_RDONLY | O_DIRECTORY);
    char name[64], to[4096] = {0};
    snprintf(name, sizeof name, "/proc/self/fd/%d", gone);
    run("rm", "-r", P("full"), NULL);
    CALL(readlink(name, to, sizeof to - 1) > 0);
    say("removed by another program: %s", shown(to));
}

PROBE(removed_directory) {
    int d = open(P("empty"), O_RDONLY | O_DIRECTORY);
    CALL(rmdir(P("empty")));
    show("removed", d);
    OPEN(openat(d, "made", O_CREAT | O_WRONLY, 0644));
    CALL(mkdirat(d, "made", 0755));
    CALL(fchdir(d));
    CALL(getcwd(NULL, 0) != NULL);
    CALL(fchmod(d, 0700));
    show("removed", d);
}

/* What is written by one descriptor is read by another. */
PROBE(written) {
    char text[64] = {0};
    int fd = open(P("a"), O_RDONLY), again = dup(fd), other = open(P("d/b"), O_RDONLY);
    FILE *stream = fopen(P("lib/os.py"), "r");
    CALL(read(fd, text, 2));
    write_file(P("a"), "written again\n");
    CALL(read(again, text, 60));
    say("%s", text);
    CALL(truncate(P("d/b"), 3));
    CALL(pread(other, text, 60, 0));
    FILE *writer = fopen(P("lib/os.py"), "r+");
    fputs("NEW", writer);
    fclose(writer);
    POINTER(fgets(text, sizeof text, stream));
    say("%s", text);
}

/* Attributes that are changed by a descriptor of the original are seen by the file's names. */
PROBE(attributes_of_originals) {
    CALL(symlink(E, B("to-env")));
    int by_alias = open(B("to-env/a"), O_RDONLY), fifo = open(P("fifo"), O_RDONLY | O_NONBLOCK), d = open(B("to-env/d"), O_RDONLY);
    CALL(fchmod(by_alias, 0611));
    attributes(P("a"));
    CALL(fchmod(fifo, 0606));
    attributes(P("fifo"));
    CALL(fchmod(d, 0711));
    attributes(P("d"));
    int again = open(P("d/b"), O_RDONLY);
    CALL(fchmod(again, 0600));
    CALL(fchown(again, getuid(), getgid()));
    CALL(futimens(again, (struct timespec[]){{7, 0}, {7, 0}}));
    attributes(P("d/b"));
    CALL(unlink(B("to-env")));
}

/* Names of descriptors, in spellings that only the kernel resolves. */
PROBE(round_about) {
    char name[4][4200];
    int fd = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY | O_DIRECTORY);
    const char *ways[] = {"/proc/self/../self/fd", "/proc/thread-self/fd", "/proc/self/root/proc/self/fd", "/dev/fd/../fd", "/tmp/../proc/self/fd"};
    for (int i = 0; i < 5; i++) {
        snprintf(name[0], sizeof name[0], "%s/%d", ways[i], fd);
        snprintf(name[1], sizeof name[1], "%s/%d/made%d", ways[i], d, i);
        snprintf(name[2], sizeof name[2], "%s/%d/dir%d", ways[i], d, i);
        int w = OPEN(open(name[0], O_WRONLY | O_APPEND));
        CALL(write(w, "more\n", 5));
        close(w);
        CALL(chmod(name[0], 0600 + i));
        write_file(name[1], "made\n");
        CALL(mkdir(name[2], 0755));
        CONTENTS(open(name[0], O_RDONLY));
    }
    snprintf(name[0], sizeof name[0], "/proc/self/fd/%d/XXXXXX", open(P("full"), O_RDONLY | O_DIRECTORY));
    close(OPEN(mkstemp(name[0])));
    CALL(unlink(name[0]));
    attributes(P("a"));
    listing(P("d"));
    snprintf(name[0], sizeof name[0], "/proc/self/fd/%d", d);
    CALL(chdir(name[0]));
    say("%s", shown(getcwd(NULL, 0)));
    write_file("here", "made\n");
    CALL(chdir("/proc/self/fd"));
    snprintf(name[0], sizeof name[0], "%d/sub", open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(chdir(name[0]));
    say("%s", shown(getcwd(NULL, 0)));
    listing(P("d"));
}

PROBE(sockets) {
    struct sockaddr_un address = {.sun_family = AF_UNIX}, own;
    socklen_t length = sizeof own;
    int d = open(P("d"), O_RDONLY | O_DIRECTORY), server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/socket", d);
    CALL(connect(client, (void *)&address, sizeof address));
    CALL(bind(server, (void *)&address, sizeof address));
    CALL(listen(server, 3));
    CALL(getsockname(server, (void *)&own, &length));
    say("its own name %d", !strcmp(own.sun_path, address.sun_path));
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/socket", open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(connect(client, (void *)&address, sizeof address));
    int datagrams = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/dev/fd/%d/datagrams", open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(bind(datagrams, (void *)&address, sizeof address));
    snprintf(address.sun_path, sizeof address.sun_path, "/dev/fd/%d/datagrams", open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(sendto(sender, "x", 1, 0, (void *)&address, sizeof address));
    listing(P("d"));
}

/* Reaches a socket that the bundle has, by a descriptor's name. */
PROBE(old_socket) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int stream = socket(AF_UNIX, SOCK_STREAM, 0), datagrams = socket(AF_UNIX, SOCK_DGRAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/there", open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(connect(stream, (void *)&address, sizeof address));
    CALL(sendto(datagrams, "x", 1, 0, (void *)&address, sizeof address));
}

/* Enters a directory by a descriptor's name, and asks the kernel past all libraries where it is. */
PROBE(entered) {
    char name[64], kernel[4096];
    long length = SYS_getcwd;
    snprintf(name, sizeof name, "/proc/self/fd/%d", open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(chdir(name));
#ifdef __x86_64__
    __asm__ volatile("syscall" : "+a"(length) : "D"(kernel), "S"(sizeof kernel) : "rcx", "r11", "memory");
    say("the kernel says the same %d", length > 0 && !strcmp(kernel, P("d")));
#endif
}

PROBE(handles) {
    union {
        struct file_handle handle;
        char room[256];
    } h;
    int mount = 0, d = open(P("d"), O_RDONLY | O_DIRECTORY);
    h.handle.handle_bytes = 128;
    CALL(name_to_handle_at(AT_FDCWD, P("d/b"), &h.handle, &mount, 0));
    CONTENTS(open_by_handle_at(d, &h.handle, O_RDONLY));
}

PROBE(path_only) {
    char text[8];
    int d = open(P("d"), O_PATH | O_DIRECTORY), plain = open(P("d"), O_RDONLY);
    CALL(fchmod(d, 0700));
    CALL(read(d, text, 8));
    CALL(lseek(d, 0, SEEK_CUR));
    CALL(fsync(d));
    CALL(flock(d, LOCK_SH | LOCK_NB));
    CALL(fsetxattr(d, "user.x", "y", 1, 0));
    CALL(fcntl(plain, F_SETFL, O_APPEND | O_NONBLOCK));
    say("%o", (unsigned)fcntl(plain, F_GETFL));
    CALL(fchmod(plain, 0711));
    attributes(P("d"));
}

PROBE(copied) {
    off_t from_at = 1, to_at = 2;
    int from = open(P("a"), O_RDONLY), to = open(P("d/b"), O_RDWR), beside = open(B("copied"), O_RDWR | O_CREAT, 0600);
    CALL(copy_file_range(from, NULL, to, NULL, 3, 0));
    CALL(copy_file_range(from, &from_at, to, &to_at, 100, 0));
    say("%d %d", (int)from_at, (int)to_at);
    CALL(copy_file_range(from, NULL, beside, NULL, 100, 0));
    CALL(lseek(from, 0, SEEK_CUR));
    CALL(lseek(to, 0, SEEK_CUR));
    CALL(copy_file_range(from, NULL, open(P("d"), O_RDONLY), NULL, 3, 0));
    CALL(copy_file_range(from, NULL, beside, NULL, 3, 1));
    CONTENTS(open(P("d/b"), O_RDONLY));
    CONTENTS(open(B("copied"), O_RDONLY));
    CALL(unlink(B("copied")));
}

PROBE(reopened) {
    FILE *stream = fopen(P("a"), "r");
    int fd = fileno(stream);
    POINTER(freopen(P("nope"), "r", stream));
    say("the same number %d", fd == open(P("d/b"), O_RDONLY));
    stream = fopen(P("a"), "r");
    POINTER(freopen(P("a/nope"), "r", stream));
    stream = fopen(P("a"), "r");
    POINTER(freopen(P("d/new"), "w", stream));
}

/* A stream that is read for the first time, and duplicates of a directory's descriptor. */
PROBE(streams) {
    struct dirent *entry;
    char buffer[2048];
    int n = 0, d = open(P("d"), O_RDONLY | O_DIRECTORY), again = dup(d), theirs = open(P("full"), O_RDONLY | O_DIRECTORY);
    DIR *stream = opendir(P("d")), *other = opendir(P("full"));
    CALL(mkdir(P("d/new"), 0755));
    while ((entry = readdir(stream)))
        n++;
    say("entries %d", n);
    CALL(getdents64(d, buffer, sizeof buffer) > 0);
    CALL(getdents64(again, buffer, sizeof buffer));
    fflush(stdout);
    if (!fork()) {
        close(openat(theirs, "child", O_CREAT | O_WRONLY, 0600));
        _exit(0);
    }
    wait(NULL);
    int found = 0;
    while ((entry = readdir(other)))
        found += !strcmp(entry->d_name, "child");
    say("found %d", found);
}

/* While one thread asks the file system of a file by its descriptor, another thread uses the descriptor. The lease of a child
 * holds up whoever opens the original meanwhile. */
static int asked;
static void *asks(void *unused) {
    int size;
    ioctl(asked, FIGETBSZ, &size);
    return unused;
}
static void meanwhile(void (*act)(int fd)) {
    int to[2], from[2];
    char byte = 0;
    pthread_t thread;
    asked = open(P("d/b"), O_RDONLY);
    if (pipe(to) || pipe(from))
        return;
    pid_t child = fork();
    if (!child) {
        sigset_t set;
        close(asked);
        sigemptyset(&set);
        sigaddset(&set, SIGIO);
        sigprocmask(SIG_BLOCK, &set, NULL);
        int own = open(P("d/b"), O_RDWR);
        fcntl(own, F_SETLEASE, F_WRLCK);
        if (write(from[1], &byte, 1) == 1)
            sigtimedwait(&set, NULL, &(struct timespec){2, 0});
        _exit(write(from[1], &byte, 1) != 1 || read(to[0], &byte, 1) != 1);
    }
    CALL(read(from[0], &byte, 1));
    pthread_create(&thread, NULL, asks, NULL);
    CALL(read(from[0], &byte, 1));
    act(asked);
    CALL(write(to[1], &byte, 1));
    pthread_join(thread, NULL);
    waitpid(child, NULL, 0);
    close(to[0]), close(to[1]), close(from[0]), close(from[1]);
}
static void gives_away(int fd) { CALL(dup2(open(P("a"), O_RDONLY), fd) == fd); }
static void closes(int fd) { CALL(close(fd)); }
static void reads(int fd) {
    char text[8] = {0};
    CALL(read(fd, text, 3));
    say("%s", text);
}
PROBE(used_meanwhile) {
    meanwhile(gives_away);
    CONTENTS(dup(asked));
    close(asked);
    meanwhile(closes);
    CALL(fcntl(asked, F_GETFD));
    meanwhile(reads);
    CONTENTS(asked);
}

/* A library that was replaced, by a descriptor that another process opened before, and by the descriptor's name. */
PROBE(replaced_library) {
    char name[64];
    int fd = open(P("lib/libold.so"), O_RDONLY);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    write_file(P("lib/new"), "another\n");
    run("mv", P("lib/new"), P("lib/libold.so"), NULL);
    CONTENTS(dup(fd));
    CONTENTS(open(name, O_RDONLY));
    snprintf(name, sizeof name, "/dev/fd/%d", fd);
    int again = open(name, O_RDONLY);
    FILE *stream = fopen(name, "r");
    CONTENTS(dup(fileno(stream)));
    say("%o", fcntl(again, F_GETFL));
    CALL(flock(again, LOCK_SH | LOCK_NB));
    struct stat s, t;
    CALL(fstat(again, &s));
    CALL(fstat(fd, &t));
    say("one file %d, links %d", s.st_dev == t.st_dev && s.st_ino == t.st_ino, (int)s.st_nlink);
    snprintf(name, sizeof name, "%d", fd);
    CALL(chdir("/proc/self/fd"));
    again = open(name, O_RDONLY);
    CALL(fstat(again, &s));
    say("one file %d, links %d", s.st_dev == t.st_dev && s.st_ino == t.st_ino, (int)s.st_nlink);
    CONTENTS(again);
    CONTENTS(openat(open("/proc/self/fd", O_PATH), name, O_RDONLY));
    CALL(stat(name, &s));
    say("one file %d", s.st_dev == t.st_dev && s.st_ino == t.st_ino);
    stream = fopen(name, "r");
    CONTENTS(dup(fileno(stream)));
    CONTENTS(open(P("lib/libold.so"), O_RDONLY));
}

PROBE(replaced_by_other_names) {
    int fd = open(P("d/b"), O_RDONLY), linked = open(P("a"), O_RDONLY), d = open(P("empty"), O_RDONLY | O_DIRECTORY);
    CALL(symlink(E, B("to-env")));
    write_file(B("other"), "another\n");
    CALL(rename(B("other"), B("to-env/d/b")));
    write_file(B("other"), "another\n");
    CALL(renameat(AT_FDCWD, B("other"), AT_FDCWD, B("to-env/a")));
    CALL(mkdir(B("directory"), 0755));
    CALL(rename(B("directory"), B("to-env/empty")));
    change(fd);
    show("replaced", fd);
    change(linked);
    show("replaced, with another name", linked);
    CALL(flock(linked, LOCK_EX | LOCK_NB));
    CALL(fchmod(d, 0700));
    show("a directory", d);
    attributes(P("same-as-a"));
    attributes(P("d/b"));
    CALL(unlink(B("to-env")));
}

/* Programs open directories without O_DIRECTORY, and remove names while they list them. */
PROBE(emptied) {
    DIR *d = fdopendir(open(P("full"), O_RDONLY));
    int n = 0, removed = 0;
    for (struct dirent *e; (e = readdir(d)); n++)
        if (e->d_name[0] != '.')
            removed += !unlinkat(dirfd(d), e->d_name, 0) || !unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    say("entries %d, removed %d", n, removed);
    CALL(rmdir(P("full")));
}

/* A descriptor of a file whose name a FIFO took: nobody waits for a writer. */
PROBE(replaced_by_fifo) {
    int fd = open(P("a"), O_RDONLY);
    fflush(stdout);
    run("sh", "-c", "rm $0 && mkfifo $0", P("a"), NULL);
    alarm(20);
    CALL(flock(fd, LOCK_EX | LOCK_NB));
    CONTENTS(fd);
}

/* Another process has changed the file before. */
PROBE(truncated_again) {
    char text[64] = {0};
    int fd = open(P("a"), O_RDONLY), again = dup(fd);
    fflush(stdout);
    run("sh", "-c", "chmod 600 $0", P("a"), NULL);
    CALL(truncate(P("a"), 2));
    CALL(pread(again, text, sizeof text - 1, 0));
    say("%s", text);
    show("truncated", fd);
}

static void *show_alone(void *fd) {
    usleep(100000);
    CALL(rename(P("a"), P("d/renamed")));
    show("without a main thread", *(int *)fd);
    CALL(fchmod(*(int *)fd, 0640));
    attributes(P("d/renamed"));
    CONTENTS(openat(((int *)fd)[1], "b", O_RDONLY));
    exit(0);
}

PROBE(main_thread_ended) {
    static int fds[2];
    pthread_t thread;
    fds[0] = open(P("a"), O_RDONLY);
    fds[1] = open(P("d"), O_RDONLY | O_DIRECTORY);
    pthread_create(&thread, NULL, show_alone, fds);
    pthread_exit(NULL);
}
