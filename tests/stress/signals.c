/* signals TREE SECONDS STACK FIRST LAST [write|exec]: a timer at 10 kHz interrupts the hooks of the main program. The
 * handler makes operations FIRST … LAST-1. It runs on an alternate stack of STACK bytes besides the signal's frame, and a
 * page without access lies at the stack's lower end. A call that succeeds must leave errno unchanged, even if a signal
 * interrupts the call.
 * With STACK 0 the program only prints how many bytes of stack the handler takes, including the signal's frame and the
 * handler's own.
 *
 * With `write` or `exec` (in a child) the handler makes only this operation, at 100 Hz. */
#include "common.h"
#include <sys/auxv.h>
#include <sys/mman.h>

extern char **environ;
static atomic_long signals;
static int first, last;
static const char *special = "";
static unsigned char *stack;
static size_t stack_size;
/* The number of bytes of the alternate stack that a child used. It is shared, because after fork the child has its own copy
 * of the stack. */
static volatile size_t *deepest;

/* Returns how many bytes of the alternate stack were used. */
static size_t used(void)
{
    size_t at = 0;
    while (at < stack_size && stack[at] == 0xa5)
        at++;
    return stack_size - at;
}

static void handle(int number)
{
    (void)number;
    static unsigned seed;
    int before = errno;
    if (strcmp(special, "write") == 0) {
        char name[256];
        snprintf(name, sizeof name, "%s/w/link/../written", tree);
        int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        CHECK(fd >= 0 && close(fd) == 0 && unlink(name) == 0, "%s", name);
        calls += 2;
    } else if (strcmp(special, "exec") == 0) {
        pid_t child = fork();
        if (child == 0) {
            /* The exec fails at its last step, because the script's interpreter does not exist. */
            char name[256], *argv[] = {name, "x", NULL};
            snprintf(name, sizeof name, "%s/bin/lost", tree);
            execve(name, argv, environ);
            *deepest = used();
            _exit(errno);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == ENOENT, "status %x", status);
        calls += 1;
    } else {
        int what = first + next(&seed) % (last - first);
        operate(&seed, what, 0);
    }
    /* Restore errno, as a handler must: operate() sets it. */
    errno = before;
    signals++;
}

static void alternate(size_t size)
{
    stack_size = (size + 4095) & ~4095ul;
    unsigned char *map = mmap(NULL, stack_size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED && mprotect(map + 4096, stack_size, PROT_READ | PROT_WRITE) == 0, "the stack");
    stack = map + 4096;
    memset(stack, 0xa5, stack_size);
    stack_t alt = {.ss_sp = stack + stack_size - size, .ss_size = size};
    CHECK(sigaltstack(&alt, NULL) == 0, "sigaltstack of %zu", size);
}

int main(int argc, char **argv)
{
    begin(argc, argv, 5);
    double end = now() + atof(argv[2]);
    size_t size = strtoul(argv[3], NULL, 10);
    first = atoi(argv[4]);
    last = atoi(argv[5]);
    if (argc > 6)
        special = argv[6];
    deepest = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    alternate(size ? size + getauxval(AT_MINSIGSTKSZ) : 1 << 20);
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    if (size == 0) {
        /* Make each call once before measuring, because the loader uses stack when it binds a function at the first call. */
        unsigned seed = 1;
        for (int i = 0; i < 2000; i++)
            operate(&seed, next(&seed) % ALL, 0);
        for (int i = 0; i < (*special ? 10 : 2000); i++)
            raise(SIGALRM);
        printf("%zu\n", *deepest > used() ? *deepest : used());
        return finish();
    }
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer");
    /* A fork that is interrupted starts again, so the time between two signals must be longer than a fork takes. */
    long nanoseconds = *special ? 10000000 : 100000;
    struct itimerspec every = {{0, nanoseconds}, {0, nanoseconds}};
    timer_settime(timer, 0, &every, NULL);
    unsigned seed = 7;
    long rounds = 0;
    do {
        operate(&seed, next(&seed) % ALL, 0);
        rounds++;
    } while (now() < end || atomic_load(&signals) < 100);
    memset(&every, 0, sizeof every);
    timer_settime(timer, 0, &every, NULL);
    printf("%ld signals in %ld operations, %zu bytes of alternate stack used\n", atomic_load(&signals), rounds, used());
    return finish();
}
