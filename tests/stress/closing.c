/* Eight processes read and write below a tree while its stage goes away, is closed, or memory runs out:
 *     closing TREE STOP [HOW]
 * They end when the file STOP is there. Each answer is compared with the kernel's own at that time: a directory has a number that is odd
 * while its owner changes it, and an answer counts if the number is even and the same before and after. HOW is what the processes do to
 * themselves: `descriptors` (they use all of theirs up), `static` (a program without libraries, ./plain beside STOP, does the writing). */
#include "common.h"
#include <sys/mman.h>
#include <sys/resource.h>

enum { PROCESSES = 8 };

static atomic_ulong *versions;
static atomic_long *counts; /* verified calls */
static const char *how = "";
static char plain[300];

static long raw_open(const char *path) { return raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0); }

/* What a file has, by libc or by the kernel: its text's length, or minus an error number. */
static int text_of(const char *path, char *text, int by_kernel)
{
    int fd = by_kernel ? (int)raw_open(path) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return by_kernel ? fd : -errno;
    int n = by_kernel ? (int)raw(SYS_read, fd, (long)text, 64, 0) : (int)read(fd, text, 64);
    if (n < 0 && !by_kernel)
        n = -errno;
    raw(SYS_close, fd, 0, 0, 0);
    return n;
}

static void look(int d, int f, unsigned *seed)
{
    char path[300], mine[64], real[64];
    struct stat st, truth;
    snprintf(path, sizeof path, "%s/d%d/f%d", tree, d, f);
    unsigned long version = atomic_load(&versions[d]);
    if (version & 1)
        return;
    int expected = raw_stat(path, &truth), got = lstat(path, &st) == 0 ? 0 : -errno;
    int length = 0, read_length = 0;
    /* Without descriptors nothing can be opened, bare or not. */
    if (strcmp(how, "descriptors") != 0 && next(seed) % 2) {
        length = text_of(path, real, 1);
        read_length = text_of(path, mine, 0);
    }
    if (atomic_load(&versions[d]) != version)
        return;
    CHECK(expected == got, "%s: %d, the kernel says %d", path, got, expected);
    CHECK(got != 0 || same(&st, &truth), "%s: other attributes", path);
    CHECK(length == read_length && (length <= 0 || memcmp(mine, real, length) == 0), "%s: read %d '%.*s', the kernel %d '%.*s'", path,
          read_length, read_length > 0 ? read_length : 0, mine, length, length > 0 ? length : 0, real);
    atomic_fetch_add(counts, 1);
}

/* Starts the program without libraries: it does what its words say. */
static void by_plain(const char *verb, const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        execl(plain, plain, verb, path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "%s %s: %d", plain, verb, status);
}

static void write_one(int d, int f, unsigned *seed)
{
    char path[300], other[300];
    int what = next(seed) % 4, fd = -1;
    /* The name leads out of the tree and back, so that only the kernel knows what it is. */
    snprintf(path, sizeof path, next(seed) % 2 ? "%s/d%d/f%d" : "%s/out/d%d/f%d", tree, d, f);
    snprintf(other, sizeof other, "%s/d%d/f%d", tree, d, FILES + (int)(next(seed) % 4));
    atomic_fetch_add(&versions[d], 1);
    if (strcmp(how, "static") == 0) {
        by_plain(what % 2 ? "remove" : "write", path);
    } else if (what == 0) {
        unlink(path);
    } else if (what == 1 && strcmp(how, "descriptors") != 0) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        CHECK(fd >= 0 || errno == EISDIR, "%s", path);
        if (fd >= 0)
            CHECK(dprintf(fd, "new %u\n", next(seed)) > 0 && close(fd) == 0, "%s", path);
    } else if (what == 2) {
        rename(path, other);
    } else {
        mkdir(path, 0755), rmdir(path), link(other, path);
    }
    atomic_fetch_add(&versions[d], 1);
}

static void process(int number, const char *stop)
{
    unsigned seed = number * 7919 + getpid();
    struct stat st;
    if (strcmp(how, "descriptors") == 0) {
        struct rlimit most = {64, 64};
        CHECK(setrlimit(RLIMIT_NOFILE, &most) == 0, "the limit");
        while (dup(2) >= 0) {}
    }
    for (unsigned long i = 0;; i++) {
        if (i % 32 == 0 && raw_stat(stop, &st) == 0)
            return;
        for (int n = 0; n < 8; n++)
            look(next(&seed) % PROCESSES, next(&seed) % (FILES + 4), &seed);
        /* Each has a directory of its own to write in, and writes late enough for the stage to be of use. */
        if (i > 20 && next(&seed) % (strcmp(how, "static") == 0 ? 256 : 16) == 0)
            write_one(number, next(&seed) % FILES, &seed);
        /* New programs are started meanwhile. */
        if (strcmp(how, "descriptors") != 0 && next(&seed) % 512 == 0) {
            char command[600];
            snprintf(command, sizeof command, "rm -f %s/d%d/f%u; mkdir -p %s/d%d/f%d", tree, number, next(&seed) % FILES, tree, number, FILES + 3);
            atomic_fetch_add(&versions[number], 1);
            CHECK(system(command) != -1, "%s", command);
            atomic_fetch_add(&versions[number], 1);
        }
    }
}

int main(int argc, char **argv)
{
    CHECK(argc > 2, "usage: closing TREE STOP [HOW]");
    snprintf(tree, sizeof tree, "%s", argv[1]);
    how = argc > 3 ? argv[3] : "";
    snprintf(plain, sizeof plain, "%.*s/plain", (int)(strrchr(argv[2], '/') - argv[2]), argv[2]);
    void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED, "memory");
    versions = shared;
    counts = (atomic_long *)(versions + PROCESSES);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0, "fork");
        if (children[i] == 0) {
            process(i, argv[2]);
            _exit(0);
        }
    }
    int bad = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        CHECK(waitpid(children[i], &status, 0) == children[i], "wait");
        if (status != 0) {
            fprintf(stderr, "process %d: status %#x\n", i, status);
            bad = 1;
        }
    }
    printf("verified %ld\n", atomic_load(counts));
    return bad;
}
