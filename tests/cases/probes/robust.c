/* Interrupts hooks by threads, forks and signals. tests/stress does this for longer. */
#include "probe.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static volatile int stop;

/* Whether a file, a directory and a missing name give the right results. The paths are not made by P, which only one thread
 * may call. */
static int looks_right(void) {
    char file[4200], directory[4200], missing[4200], text[16] = "";
    struct stat s;
    snprintf(file, sizeof file, "%s/d/b", E);
    snprintf(directory, sizeof directory, "%s/d", E);
    snprintf(missing, sizeof missing, "%s/nope", E);
    int fd = open(file, O_RDONLY);
    int right = fd >= 0 && read(fd, text, sizeof text) == 6 && !memcmp(text, "world\n", 6);
    close(fd);
    return right && stat(directory, &s) == 0 && S_ISDIR(s.st_mode) && access(missing, F_OK) && errno == ENOENT;
}

static void *hammer(void *wrong) {
    while (!stop)
        *(int *)wrong += !looks_right();
    return NULL;
}

PROBE(forks_among_threads) {
    pthread_t threads[4];
    int wrong[4] = {0}, failed = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, hammer, &wrong[i]);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (!child)
            _exit(looks_right() ? 0 : 1);
        int status;
        waitpid(child, &status, 0);
        failed += status != 0;
    }
    stop = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("wrong in threads %d, in children %d", wrong[0] + wrong[1] + wrong[2] + wrong[3], failed);
}

static volatile int handled, wrong_in_handler;
static void handler(int signal) {
    int before = errno;
    struct stat s;
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    static char name[8192];
    handled++;
    if (!*name)
        strcpy(name, E), strcat(name, "/a");
    fd = open(name, O_RDONLY);
    if (fd < 0 || fstat(fd, &s) || s.st_size != 6 || stat(name, &s) || s.st_size != 6)
        wrong_in_handler++;
    close(fd);
    errno = before;
}

PROBE(signals) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    int wrong = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    while (handled < 200)
        wrong += !looks_right();
    setitimer(ITIMER_REAL, &never, NULL);
    say("wrong %d, in the handler %d", wrong, wrong_in_handler);
}
