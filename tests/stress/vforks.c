/* vforks TREE SECONDS: threads vfork children whose exec under the prefix fails or succeeds. The child shares the
 * parent's memory, so the shim must leave its own data unchanged in the child. The parent's thread must find the errno that
 * the child's exec set, as without the shim. */
#include "common.h"

extern char **environ;
static double end;
static char cwd[4096];
static atomic_long children;

static unsigned long environment(void)
{
    unsigned long sum = 5381;
    for (char **e = environ; *e; e++)
        for (char *c = *e; *c; c++)
            sum = sum * 33 + (unsigned char)*c;
    return sum;
}

/* Starts a child. This is a function of its own so that the child cannot overwrite the caller's frame. */
__attribute__((noinline)) static pid_t start(int how, const char *name, const char *dir, char **argv, char **envp)
{
    pid_t child = vfork();
    if (child == 0) {
        if (dir && chdir(dir) != 0)
            _exit(99);
        errno = 0;
        switch (how) {
        case 0: execv(name, argv); break;
        case 1: execve(name, argv, envp); break;
        case 2: execvp(name, argv); break;
        case 3: execle(name, name, "a", "b", "c", "d", "e", "f", "g", NULL, envp); break;
        case 4: execvpe(name, argv, envp); break;
        }
        _exit(errno);
    }
    return child;
}

static void *work(void *number)
{
    unsigned seed = (unsigned)(long)number;
    char *empty[] = {NULL}, *some[] = {"A=1", "LD_LIBRARY_PATH=/nowhere", NULL};
    static const struct { const char *name; int result; } cases[] = {
        {"%s/d3/missing", ENOENT}, {"%s/d3/f3", EACCES}, {"%s/d3/f3/x", ENOTDIR}, {"%s/d3", EACCES}, {"%s/bin/lost", ENOENT},
        {"%s/d3/dangling", ENOENT}, {"./f4", EACCES}, {"./missing", ENOENT}, {"%s/bin/true", 0},
    };
    unsigned long before = environment();
    char **environ_before = environ;
    do {
        int i = next(&seed) % 9, how = next(&seed) % 5, given = next(&seed) % 2;
        char name[256], dir[256], *argv[] = {name, "one", "two", NULL}, now_at[4096];
        snprintf(name, sizeof name, cases[i].name, tree);
        snprintf(dir, sizeof dir, "%s/d3", tree);
        volatile unsigned canary = seed;
        pid_t child = start(how, name, cases[i].name[0] == '.' || next(&seed) % 2 ? dir : NULL, argv, given ? some : empty);
        int e = errno, status;
        CHECK(child > 0, "vfork");
        CHECK(cases[i].result == 0 || e == cases[i].result, "%s: errno %d", name, e);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status), "%s: status %x", name, status);
        CHECK(WEXITSTATUS(status) == cases[i].result, "%s by %d: exit status %d", name, how, WEXITSTATUS(status));
        CHECK(getcwd(now_at, sizeof now_at) && strcmp(now_at, cwd) == 0, "the parent stands in %s", now_at);
        CHECK(environ == environ_before && environment() == before, "the environment changed");
        (void)canary;
        children++;
        atomic_fetch_add(&calls, 1);
        for (int j = 0; j < 4; j++)
            operate(&seed, next(&seed) % ALL, 0);
    } while (now() < end);
    return NULL;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 2);
    end = now() + atof(argv[2]);
    CHECK(getcwd(cwd, sizeof cwd) != NULL, "getcwd");
    pthread_t threads[4];
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("%ld vforks from 4 threads\n", atomic_load(&children));
    return finish();
}
