/* Makes and verifies calls on the tree of mktree.sh, for all stress programs.
 *
 * `learn` asks the kernel for the attributes of the tree without libc, so that no shim can change the attributes. The
 * stage is made of the same tree, and every later answer must be equal to the kernel's. After the first wrong answer the
 * process exits with 1. Every program ends with the line `calls N answered M`: N calls were verified, and the stage had to
 * answer at least M of the N.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DIRS = 16, FILES = 64 };

struct known {
    char path[256], text[32];
    struct stat st;
};

static char tree[160];
static struct known known[DIRS][FILES];
static struct stat known_dir[DIRS];
static atomic_long calls, answered;

/* Makes a system call directly, so that no library sees it. */
static inline long raw(long n, long a, long b, long c, long d)
{
#if defined(__x86_64__)
    long r;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return r;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#endif
}

static inline int raw_stat(const char *path, struct stat *st)
{
    return (int)raw(SYS_newfstatat, AT_FDCWD, (long)path, (long)st, AT_SYMLINK_NOFOLLOW);
}

__attribute__((format(printf, 4, 5), noreturn, noinline, cold)) static void wrong(const char *file, int line, const char *what, const char *format, ...)
{
    char text[1024];
    int e = errno, n = snprintf(text, sizeof text, "WRONG %s:%d (%d, errno %d): %s: ", file, line, getpid(), e, what);
    va_list list;
    va_start(list, format);
    n += vsnprintf(text + n, sizeof text - n - 2, format, list);
    va_end(list);
    if (n > (int)sizeof text - 2)
        n = sizeof text - 2;
    text[n++] = '\n';
    raw(SYS_write, 2, (long)text, n, 0);
    _exit(1);
}
#define CHECK(condition, ...) \
    do { \
        if (!(condition)) \
            wrong(__FILE__, __LINE__, #condition, __VA_ARGS__); \
    } while (0)

static inline void done(long n)
{
    atomic_fetch_add_explicit(&calls, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&answered, n, memory_order_relaxed);
}

static inline int same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_nlink == b->st_nlink && a->st_uid == b->st_uid
        && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec
        && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static inline unsigned next(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void learn(const char *where)
{
    snprintf(tree, sizeof tree, "%s", where);
    for (int d = 0; d < DIRS; d++) {
        char dir[200];
        snprintf(dir, sizeof dir, "%s/d%d", tree, d);
        CHECK(raw_stat(dir, &known_dir[d]) == 0, "%s", dir);
        for (int f = 0; f < FILES; f++) {
            struct known *k = &known[d][f];
            snprintf(k->path, sizeof k->path, "%s/f%d", dir, f);
            snprintf(k->text, sizeof k->text, "d%d/f%d\n", d, f);
            CHECK(raw_stat(k->path, &k->st) == 0, "%s", k->path);
        }
    }
}

/* Ends the process if the shim is not loaded, because without the shim the test would prove nothing. */
static inline void shim_is_here(void)
{
    if (getenv("STRESS_BARE"))
        return;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    int found = 0;
    while (maps && fgets(line, sizeof line, maps))
        found |= strstr(line, "/lib/libpyshm.so") != NULL;
    CHECK(found, "the shim is not loaded");
    fclose(maps);
}

static inline void begin(int argc, char **argv, int least)
{
    CHECK(argc > least, "usage: %s TREE …", argv[0]);
    shim_is_here();
    learn(argv[1]);
}

static inline int finish(void)
{
    printf("calls %ld answered %ld\n", atomic_load(&calls), atomic_load(&answered));
    return 0;
}

static inline void read_back(int fd, const char *text)
{
    char buf[256];
    ssize_t n = read(fd, buf, sizeof buf);
    CHECK(n == (ssize_t)strlen(text) && memcmp(buf, text, n) == 0, "read '%.*s', expected '%s'", (int)(n > 0 ? n : 0), buf, text);
}

enum { ERRNO = 77 };
/* Checks that a call succeeds and leaves errno unchanged. */
#define KEPT(call, name) \
    do { \
        errno = ERRNO; \
        CHECK(call, "%s", name); \
        CHECK(errno == ERRNO, "%s", name); \
    } while (0)
#define FAILS(call, e, name) \
    do { \
        errno = ERRNO; \
        CHECK((call) == -1 && errno == (e), "%s", name); \
    } while (0)

enum { SIMPLE = 4, SAFE = 12, ALL = 17 };

/* Makes one verified operation: the one that has the number `what`. The operations below SIMPLE use absolute names without
 * symbolic links, and succeed. The operations below SAFE call only functions that a signal handler may call. The operation
 * uses none of the directories d0 … d(from-1). */
static inline void operate(unsigned *seed, int what, int from)
{
    int d = from + next(seed) % (DIRS - from), f = next(seed) % FILES, fd;
    const struct known *k = &known[d][f];
    struct stat st, st2;
    char name[512], buf[512];
    ssize_t n;
    switch (what) {
    case 0:
        KEPT(stat(k->path, &st) == 0, k->path);
        CHECK(same(&st, &k->st), "%s", k->path);
        return done(1);
    case 1:
        KEPT((fd = open(k->path, O_RDONLY | O_CLOEXEC)) >= 0, k->path);
        KEPT(fstat(fd, &st) == 0, k->path);
        CHECK(same(&st, &k->st), "%s", k->path);
        read_back(fd, k->text);
        close(fd);
        return done(1);
    case 2:
        KEPT(access(k->path, R_OK) == 0, k->path);
        return done(1);
    case 3:
        KEPT(lstat(k->path, &st) == 0, k->path);
        CHECK(same(&st, &k->st), "%s", k->path);
        return done(1);
    case 4:
        snprintf(name, sizeof name, "%s/d%d/rel", tree, d);
        KEPT((n = readlink(name, buf, sizeof buf)) == 2 && memcmp(buf, "f0", 2) == 0, name);
        KEPT(stat(name, &st) == 0, name);
        CHECK(same(&st, &known[d][0].st), "%s", name);
        return done(2);
    case 5:
        snprintf(name, sizeof name, "%s/d%d/abs", tree, d);
        KEPT((n = readlink(name, buf, sizeof buf)) == (ssize_t)strlen(known[d][1].path) && memcmp(buf, known[d][1].path, n) == 0, name);
        KEPT((fd = open(name, O_RDONLY | O_CLOEXEC)) >= 0, name);
        read_back(fd, known[d][1].text);
        close(fd);
        return done(2);
    case 6:
        snprintf(name, sizeof name, "%s/d%d/dangling", tree, d);
        FAILS(stat(name, &st), ENOENT, name);
        KEPT(lstat(name, &st) == 0 && S_ISLNK(st.st_mode), name);
        return done(2);
    case 7:
        snprintf(name, sizeof name, "%s/d%d/missing%d", tree, d, f);
        FAILS(stat(name, &st), ENOENT, name);
        FAILS(open(name, O_RDONLY), ENOENT, name);
        FAILS(access(name, F_OK), ENOENT, name);
        FAILS(readlink(name, buf, sizeof buf), ENOENT, name);
        return done(4);
    case 8:
        snprintf(name, sizeof name, "%s/x", k->path);
        FAILS(stat(name, &st), ENOTDIR, name);
        FAILS(open(name, O_RDONLY), ENOTDIR, name);
        return done(2);
    case 9:
        snprintf(name, sizeof name, "%s/dirlink/../d%d/./sub/../f%d", tree, d, f);
        KEPT(stat(name, &st) == 0, name);
        CHECK(same(&st, &k->st), "%s", name);
        return done(1);
    case 10: /* dirlink leads to the last directory */
        snprintf(name, sizeof name, "%s/dirlink/f%d", tree, f);
        KEPT((fd = open(name, O_RDONLY | O_CLOEXEC)) >= 0, name);
        read_back(fd, known[DIRS - 1][f].text);
        close(fd);
        return done(1);
    case 11:
        snprintf(name, sizeof name, "%s/d%d", tree, d);
        KEPT((fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0, name);
        snprintf(buf, sizeof buf, "f%d", f);
        KEPT(fstatat(fd, buf, &st, 0) == 0 && fstat(fd, &st2) == 0, name);
        CHECK(same(&st, &k->st) && same(&st2, &known_dir[d]), "%s", name);
        int file = openat(fd, buf, O_RDONLY | O_CLOEXEC);
        CHECK(file >= 0, "%s", k->path);
        read_back(file, k->text);
        close(file);
        close(fd);
        return done(3);
    case 12: {
        snprintf(name, sizeof name, "%s/d%d", tree, d);
        DIR *dir = opendir(name);
        CHECK(dir != NULL, "%s", name);
        int files = 0, others = 0, number;
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            if (sscanf(e->d_name, "f%d", &number) == 1 && number < FILES && e->d_ino == known[d][number].st.st_ino)
                files++;
            else
                others++;
        }
        closedir(dir);
        CHECK(files == FILES && others == 6 /* . .. rel abs dangling sub */, "%s has %d files and %d others", name, files, others);
        return done(1);
    }
    case 13: {
        snprintf(name, sizeof name, "%s/d%d/sub/../abs", tree, d);
        char *real = realpath(name, NULL);
        CHECK(real && strcmp(real, known[d][1].path) == 0, "%s is %s", name, real ? real : "(null)");
        free(real);
        return done(1);
    }
    case 14: {
        FILE *stream = fopen(k->path, "re");
        CHECK(stream && fgets(buf, sizeof buf, stream) && strcmp(buf, k->text) == 0, "%s", k->path);
        fclose(stream);
        return done(1);
    }
    case 15: {
        struct dirent **list;
        snprintf(name, sizeof name, "%s/d%d/sub", tree, d);
        int count = scandir(name, &list, NULL, alphasort);
        CHECK(count == 3 && strcmp(list[2]->d_name, "below") == 0, "%s has %d", name, count);
        while (count > 0)
            free(list[--count]);
        free(list);
        return done(1);
    }
    case 16:
        /* The directory TREE2 lies outside the prefix, although its name begins with the name of the tree. */
        snprintf(name, sizeof name, "%s2", tree);
        KEPT(stat(name, &st) == 0 && S_ISDIR(st.st_mode), name);
        return;
    }
}
