/* cancel TREE ROUNDS: cancels threads inside calls that are cancellation points of POSIX. A cancellation
 * unwinds the stack of its thread, and must be able to pass the frames of the shim's hooks. */
#include "common.h"

static atomic_int running;
static atomic_long ended;

static void at_end(void *unused)
{
    (void)unused;
    ended++;
}

static void *work(void *number)
{
    const char *name = known[(long)number % DIRS][3].path;
    char dir[256];
    snprintf(dir, sizeof dir, "%s/d2", tree);
    pthread_cleanup_push(at_end, NULL);
    for (;;) {
        running = 1;
        int fd = openat(AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            close(fd);
        FILE *f = fopen(name, "re");
        if (f)
            fclose(f);
        DIR *d = opendir(dir);
        if (d)
            closedir(d);
        done(3);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 2);
    long rounds = atol(argv[2]);
    for (long i = 0; i < rounds; i++) {
        pthread_t thread;
        void *result;
        running = 0;
        CHECK(pthread_create(&thread, NULL, work, (void *)i) == 0, "thread %ld", i);
        while (!running)
            usleep(10);
        usleep(i * 13 % 300);
        CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED, "thread %ld", i);
        /* A thread that ends between open and close leaves its descriptor open, with the shim and without. */
        for (int fd = 3; fd < 200; fd++)
            close(fd);
    }
    CHECK(ended == rounds, "%ld of %ld clean-ups", (long)ended, rounds);
    printf("%ld threads cancelled\n", rounds);
    return finish();
}
