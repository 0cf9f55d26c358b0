/* forks TREE SECONDS FORKS: eight threads work on the tree while the main thread forks at least FORKS children, each of
 * which makes some calls and exits. A child would hang if another thread held a lock of the shim at the fork, or had changed
 * only a part of a cache. */
#include "common.h"

static atomic_int stop;

static void *work(void *number)
{
    unsigned seed = (unsigned)(long)number;
    do {
        for (int i = 0; i < 100; i++)
            operate(&seed, next(&seed) % ALL, 0);
        /* Without this pause the main thread would rarely get a processor. */
        usleep(1000);
    } while (!atomic_load(&stop));
    return NULL;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 3);
    double end = now() + atof(argv[2]);
    long least = atol(argv[3]), forks = 0;
    pthread_t threads[8];
    for (long i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (unsigned seed = 1; forks == 0 || forks < least || now() < end; forks++) {
        pid_t child = fork();
        if (child == 0) {
            for (int i = 0; i < SAFE; i++)
                operate(&seed, i, 0);
            _exit(42);
        }
        int status;
        CHECK(child > 0 && waitpid(child, &status, 0) == child, "fork %ld", forks);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42, "child %ld: status %x", forks, status);
        done(SAFE);
        next(&seed);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    printf("%ld forks among 8 threads\n", forks);
    return finish();
}
