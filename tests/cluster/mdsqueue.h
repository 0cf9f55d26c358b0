/*
 * mdsqueue.h: holds the queue for metadata, the queue for data and the counters that all mounts of mdsfs share through
 * one mapped file. `mdsfs stat` prints in the order of `enum op`.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The operations before CLOSE go through the queue for metadata; the others are only counted. */
enum op {
    LOOKUP, NEGATIVE, GETATTR, OPEN, OPENDIR, READDIR, READLINK, STATFS, GETXATTR, LISTXATTR,
    SETATTR, CREATE, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME, SETXATTR, REMOVEXATTR,
    CLOSE, READ, READ_BYTES, WRITE, WRITE_BYTES, OPS
};
static const char *const op_names[OPS] = {
    "lookup", "lookup_neg", "getattr", "open", "opendir", "readdir", "readlink", "statfs", "getxattr", "listxattr",
    "setattr", "create", "mknod", "mkdir", "symlink", "link", "unlink", "rmdir", "rename", "setxattr", "removexattr",
    "close", "read", "read_bytes", "write", "write_bytes",
};

struct shared {
    _Atomic long mds_next; /* when the metadata queue is free again, ns of CLOCK_MONOTONIC */
    _Atomic long mds_rate; /* operations a second */
    _Atomic long latency_us;
    _Atomic long oss_rate_mb;
    _Atomic long oss_next; /* when the data queue is free again */
    _Atomic long waited_ns;
    _Atomic long count[OPS];
};

static struct shared *shared;
static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void sleep_until(long t) {
    struct timespec when = {t / 1000000000L, t % 1000000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, 0) == EINTR) {
    }
}

/* Takes the next place in a queue that needs `cost` ns for each request; returns the time at which the request is done. */
static long enqueue(_Atomic long *queue, long at, long cost) {
    long old = atomic_load(queue), done;
    do {
        done = (old > at ? old : at) + cost;
    } while (!atomic_compare_exchange_weak(queue, &old, done));
    return done;
}

static void mds(enum op op) {
    long at = now(), done = at, rate = shared->mds_rate;
    shared->count[op]++;
    if (rate > 0)
        done = enqueue(&shared->mds_next, at, 1000000000L / rate);
    done += shared->latency_us * 1000;
    if (done > at) {
        sleep_until(done);
        shared->waited_ns += done - at;
    }
}

/* Counts a READ or WRITE, adds its bytes to the next counter, and waits as long as the data queue demands. */
static void oss(enum op op, long bytes) {
    long rate = shared->oss_rate_mb;
    shared->count[op]++;
    shared->count[op + 1] += bytes;
    if (rate > 0)
        sleep_until(enqueue(&shared->oss_next, now(), bytes * 1000 / rate));
}

static struct shared *map(const char *file) {
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    void *at = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(struct shared)) == 0)
        at = mmap(0, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        perror(file);
        exit(1);
    }
    close(fd);
    return at;
}
