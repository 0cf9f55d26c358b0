/* Asks the file system of an open file what only it can do or say. */
#include "probe.h"
#include <sys/syscall.h>

PROBE(fsync) { CALL(fsync(open(P("a"), O_RDONLY))); }
PROBE(fdatasync) { CALL(fdatasync(open(P("a"), O_RDONLY))); }
PROBE(syncfs) { CALL(syncfs(open(P("a"), O_RDONLY))); }
PROBE(sync_file_range) { CALL(sync_file_range(open(P("a"), O_RDONLY), 0, 6, SYNC_FILE_RANGE_WRITE)); }
PROBE(by_number) {
    int fd = open(P("a"), O_RDONLY);
    CALL(syscall(SYS_fsync, fd));
    CALL(syscall(SYS_fdatasync, fd));
    CALL(syscall(SYS_syncfs, fd));
}

PROBE(directory) {
    int fd = OPEN(open(P("d"), O_RDONLY | O_DIRECTORY));
    CALL(fsync(fd));
    CALL(close(fd));
    CALL(fsync(fd));
}

PROBE(read_directory) {
    DIR *stream = opendir(P("full"));
    say("an entry %d", readdir(stream) != NULL);
    CALL(fsync(dirfd(stream)));
    int rest = 1;
    while (readdir(stream))
        rest++;
    say("entries %d", rest);
}

PROBE(outside) {
    struct stat s;
    int fd = OPEN(open(B("out/real"), O_RDWR));
    CALL(fsync(fd));
    CALL(fdatasync(fd));
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(fsync(-1));
    CALL(syncfs(-1));
    CALL(stat(P("a"), &s));
}

typedef off_t seek(int, off_t, int);

static void sought(int fd, seek *seek) {
    static const long places[] = {-1, 0, 1, 4096, 99999, 100000, 400000, 512 << 10, (512 << 10) + 1, 520 << 10, 1 << 20, 1 << 21};
    for (int i = 0; i < (int)(sizeof places / sizeof *places); i++) {
        say("%ld", places[i]);
        CALL(seek(fd, places[i], SEEK_DATA));
        CALL(seek(fd, 0, SEEK_CUR));
        CALL(seek(fd, places[i], SEEK_HOLE));
        CALL(seek(fd, 0, SEEK_CUR));
    }
    CALL(seek(fd, 0, 17));
    CALL(seek(fd, -6, SEEK_END));
    char text[8] = "";
    CALL(read(fd, text, 6));
    say("%02x", text[0]);
}

static off_t by_number(int fd, off_t offset, int whence) { return syscall(SYS_lseek, fd, offset, whence); }

static void holes_by(seek *seek) {
    int fd = OPEN(open(P("holes"), O_RDONLY));
    int other = dup(fd);
    sought(fd, seek);
    CALL(seek(other, 0, SEEK_CUR));
}

PROBE(holes) { holes_by(lseek); }
PROBE(holes64) { holes_by(lseek64); }
PROBE(holes_by_number) { holes_by(by_number); }
PROBE(no_holes) { sought(OPEN(open(P("full-of-bytes"), O_RDONLY)), lseek); }

static char buffer[8192] __attribute__((aligned(4096)));

static void read_at(int fd) {
    CALL(fcntl(fd, F_GETFL) & O_DIRECT);
    CALL(pread(fd, buffer, 4096, 0));
    CALL(pread(fd, buffer + 1, 5, 1));
    CALL(pread(fd, buffer, 4096, 4096));
    CALL(close(fd));
}

PROBE(direct) {
    read_at(OPEN(open(P("a"), O_RDONLY | O_DIRECT)));
    read_at(OPEN(openat(AT_FDCWD, P("to-a"), O_RDONLY | O_DIRECT)));
    OPEN(open(P("d"), O_RDONLY | O_DIRECT));
    OPEN(open(P("d"), O_RDONLY | O_DIRECT | O_DIRECTORY));
}

PROBE(direct_later) {
    int fd = OPEN(open(P("a"), O_RDONLY));
    CALL(fcntl(fd, F_SETFL, O_DIRECT));
    read_at(fd);
}
