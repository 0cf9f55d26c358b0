/* A library whose constructor makes the first calls of the process to the shim, from two threads. One thread reads.
 * The test delays the shim's search for its stage. During this search the other thread writes a file and forks a child,
 * which writes another file. Later reads must see both writes. The library is preloaded into the program of early.c.
 * STRESS_FILE is the number of a file that no process has written yet. */
#include "common.h"

static atomic_int ready;
static char other[256];

static void *look(void *unused)
{
    struct stat st;
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < 2)
        ;
    CHECK(stat(other, &st) == 0, "%s", other);
    return unused;
}

static void put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_TRUNC);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0, "%s", name);
}

static void is(const char *name, const char *text)
{
    char buf[64];
    int fd = open(name, O_RDONLY), n = read(fd, buf, sizeof buf);
    CHECK(n == (int)strlen(text) && memcmp(buf, text, n) == 0, "%s has '%.*s' and not '%s'", name, n > 0 ? n : 0, buf, text);
    close(fd);
}

__attribute__((constructor)) static void first(void)
{
    const char *where = getenv("STRESS_TREE"), *number = getenv("STRESS_FILE");
    if (!where || !number)
        return;
    int i = atoi(number);
    char name[256], by_child[256];
    snprintf(other, sizeof other, "%s/d15/f0", where);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, look, NULL) == 0, "thread");
    while (atomic_load(&ready) < 1)
        ;
    atomic_fetch_add(&ready, 1);
    usleep(30000);
    snprintf(name, sizeof name, "%s/d%d/f%d", where, i / FILES, i % FILES);
    snprintf(by_child, sizeof by_child, "%s/d%d/f%d", where, i / FILES + 7, i % FILES);
    put(name, "by a thread\n");
    pid_t child = fork();
    if (child == 0) {
        put(by_child, "by a child\n");
        _exit(0);
    }
    waitpid(child, NULL, 0);
    pthread_join(thread, NULL);
    is(name, "by a thread\n");
    is(by_child, "by a child\n");
    printf("calls 5 answered 0\n");
    fflush(stdout);
    _exit(0);
}
