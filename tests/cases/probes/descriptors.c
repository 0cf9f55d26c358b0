/* Calls functions on descriptors of redirected files. */
#include "probe.h"
#include <sys/file.h>
#include <sys/mman.h>

PROBE(create_in_directory) {
    int d = OPEN(open(P("d"), O_RDONLY | O_DIRECTORY));
    int fd = OPEN(openat(d, "made", O_WRONLY | O_CREAT, 0644));
    CALL(write(fd, "made\n", 5));
    close(fd);
    CONTENTS(open(P("d/made"), O_RDONLY));
    CONTENTS(openat(d, "made", O_RDONLY));
    fd = OPEN(openat(d, "b", O_WRONLY | O_APPEND));
    CALL(write(fd, "more\n", 5));
    close(fd);
    CONTENTS(openat(d, "b", O_RDONLY));
    run("ls", P("d"), NULL);
}

PROBE(remove_in_directory) {
    struct stat s;
    int full = OPEN(open(P("full"), O_RDONLY | O_DIRECTORY));
    CALL(unlinkat(full, "1", 0));
    CALL(fstatat(full, "1", &s, 0));
    CALL(faccessat(full, "1", F_OK, 0));
    CALL(fstatat(full, "2", &s, 0));
    say("size %d", (int)s.st_size);
    CALL(renameat(full, "2", full, "two"));
    CONTENTS(openat(full, "two", O_RDONLY));
    OPEN(openat(full, "2", O_RDONLY));
    CALL(mkdirat(full, "dir", 0755));
    CALL(fstatat(full, "dir", &s, 0));
    CALL(unlinkat(full, "dir", AT_REMOVEDIR));
    CALL(fstat(full, &s));
    say("links %d", (int)s.st_nlink);
    listing(P("full"));
    DIR *stream = fdopendir(full);
    int n = 0;
    while (readdir(stream))
        n++;
    say("entries %d", n);
    closedir(stream);
}

PROBE(shared_mapping) {
    int fd = OPEN(open(P("a"), O_RDWR));
    char *text = mmap(NULL, 6, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("%.5s", text);
    memcpy(text, "HELLO", 5);
    CALL(msync(text, 6, MS_SYNC));
    CALL(munmap(text, 6));
    close(fd);
    CONTENTS(open(P("a"), O_RDONLY));
    run("cat", P("a"), NULL);
    fd = OPEN(open(P("d/b"), O_RDONLY));
    text = mmap(NULL, 6, PROT_READ, MAP_SHARED, fd, 0);
    say("%.5s", text);
}

/* Opens the name of a read descriptor again, for writing. */
PROBE(reopen) {
    char link[64];
    int fd = OPEN(open(P("a"), O_RDONLY));
    sprintf(link, "/proc/self/fd/%d", fd);
    int again = OPEN(open(link, O_WRONLY | O_APPEND));
    CALL(write(again, "more\n", 5));
    close(again);
    CONTENTS(open(P("a"), O_RDONLY));
    sprintf(link, "/dev/fd/%d", fd = open(P("d/b"), O_RDONLY));
    FILE *file = fopen(link, "a");
    say("fopen %d", file != NULL);
    fputs("by fopen\n", file);
    fclose(file);
    CONTENTS(open(P("d/b"), O_RDONLY));
    CALL(chmod(link, 0640));
    attributes(P("d/b"));
    CALL(truncate(link, 3));
    attributes(P("d/b"));
}

/* Uses names below the name of a directory's descriptor. */
PROBE(through_the_kernel_s_link) {
    char link[64];
    int full = OPEN(open(P("full"), O_RDONLY | O_DIRECTORY));
    sprintf(link, "/proc/self/fd/%d/made", full);
    write_file(link, "made\n");
    CONTENTS(open(P("full/made"), O_RDONLY));
    sprintf(link, "/dev/fd/%d//1", full);
    CALL(unlink(link));
    CALL(access(P("full/1"), F_OK));
}

PROBE(reopen_for_reading) {
    char link[64];
    struct stat s, t;
    sprintf(link, "/proc/self/fd/%d", OPEN(open(P("a"), O_RDONLY)));
    CALL(stat(link, &s));
    CALL(stat(P("a"), &t));
    say("one file %d", same(&s, &t));
    CONTENTS(open(link, O_RDONLY));
    write_file(P("a"), "changed\n");
    CONTENTS(open(link, O_RDONLY));
    sprintf(link, "/proc/self/fd/%d/made", OPEN(open(P("full"), O_RDONLY | O_DIRECTORY)));
    write_file(P("full/made"), "made\n");
    CONTENTS(open(link, O_RDONLY));
}

/*
 * The parent opens a descriptor for reading. Then a child takes a lock on a descriptor for writing. Shows whether this lock
 * makes a lock fail that the parent tries on its descriptor.
 */
static void try_locks(const char *what, void (*take)(int), void (*try)(int)) {
    int ready[2], done[2];
    char byte;
    int first = open(P("a"), O_RDONLY), second = open(P("a"), O_RDONLY);
    say("%s", what);
    if (pipe(ready) || pipe(done))
        return;
    pid_t child = fork();
    if (child == 0) {
        take(open(P("a"), O_RDWR));
        if (write(ready[1], "x", 1) < 0 || read(done[0], &byte, 1) < 0)
            _exit(1);
        _exit(0);
    }
    if (read(ready[0], &byte, 1) < 0)
        return;
    try(first);
    if (write(done[1], "x", 1) < 0)
        return;
    waitpid(child, NULL, 0);
    try(second);
}

static void take_flock(int fd) { CALL(flock(fd, LOCK_EX)); }
static void try_flock(int fd) {
    CALL(flock(fd, LOCK_SH | LOCK_NB));
    CALL(flock(fd, LOCK_EX | LOCK_NB));
    close(fd);
}
static void take_fcntl(int fd) {
    struct flock whole = {.l_type = F_WRLCK};
    CALL(fcntl(fd, F_SETLK, &whole));
}
static void try_fcntl(int fd) {
    struct flock whole = {.l_type = F_RDLCK}, asked = {.l_type = F_RDLCK};
    CALL(fcntl(fd, F_SETLK, &whole));
    CALL(fcntl(fd, F_GETLK, &asked));
    say("free %d", asked.l_type == F_UNLCK);
    close(fd);
}
static void take_ofd(int fd) {
    struct flock whole = {.l_type = F_WRLCK};
    CALL(fcntl(fd, F_OFD_SETLK, &whole));
}
static void try_ofd(int fd) {
    struct flock whole = {.l_type = F_RDLCK};
    CALL(fcntl(fd, F_OFD_SETLK, &whole));
    close(fd);
}
static void take_lockf(int fd) { CALL(lockf(fd, F_LOCK, 0)); }
static void try_lockf(int fd) {
    CALL(lockf(fd, F_TEST, 0));
    close(fd);
}

PROBE(flocks) { try_locks("flock", take_flock, try_flock); }
PROBE(record_locks) { try_locks("fcntl", take_fcntl, try_fcntl); }
PROBE(description_locks) { try_locks("open file description", take_ofd, try_ofd); }
PROBE(lockf_locks) { try_locks("lockf", take_lockf, try_lockf); }

/* Takes a shared lock on a read descriptor, which must keep a writer out. */
PROBE(reader_locks) {
    int fd = open(P("a"), O_RDONLY);
    CALL(flock(fd, LOCK_SH));
    CONTENTS(dup(fd));
    fflush(stdout);
    if (!fork()) {
        CALL(flock(open(P("a"), O_RDWR), LOCK_EX | LOCK_NB));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    CALL(flock(fd, LOCK_UN));
    CALL(flock(open(P("a"), O_RDWR), LOCK_EX | LOCK_NB));
}

/* Calls other functions on read descriptors. */
PROBE(flags) {
    int fd = open(P("a"), O_RDONLY | O_CLOEXEC), plain = open(P("d/b"), O_RDONLY), d = open(P("d"), O_DIRECTORY);
    CALL(fcntl(fd, F_GETFD));
    CALL(fcntl(plain, F_GETFD));
    CALL(fcntl(fd, F_GETFL) & O_ACCMODE);
    CALL(lseek(fd, 0, SEEK_END));
    CALL(lseek(fd, 1, SEEK_SET));
    CALL(write(fd, "x", 1));
    CALL(ftruncate(fd, 0));
    CALL(read(d, &d, 1));
    CALL(fcntl(fd, F_SETFL, O_NONBLOCK));
    CONTENTS(dup(fd));
}

/* Renames an open directory and gives its old name to another directory. Calls on the descriptor must not reach the other
 * directory. */
PROBE(moved_directory) {
    int d = open(P("d"), O_RDONLY | O_DIRECTORY);
    CALL(rename(P("d"), P("moved")));
    CALL(mkdir(P("d"), 0755));
    write_file(P("d/other"), "another\n");
    CALL(faccessat(d, "other", F_OK, 0));
    OPEN(openat(d, "other", O_WRONLY | O_TRUNC));
    CALL(unlinkat(d, "other", 0));
    DIR *directory = fdopendir(d);
    int names = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        names += !strcmp(entry->d_name, "b") || !strcmp(entry->d_name, "sub");
    say("names %d", names);
    listing(P("d"));
}
