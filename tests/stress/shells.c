/* shells TREE SECONDS: threads start programs at the same time by system, popen and posix_spawn. The output and exit
 * status of each program must be right, and so must the files that the program writes under the tree. Each program must have
 * the shim, because other processes would not see the writes of a program without the shim. */
#include "common.h"
#include <spawn.h>

extern char **environ;
enum { THREADS = 6, MANY = 24 };
static double end;
static atomic_long shells, without;
static int bare;

/* A shell command that succeeds if a program that the shell starts (grep) has the shim loaded. */
#define HAS_SHIM "grep -q /lib/libpyshm.so /proc/self/maps"

static void holds(const char *name, const char *text)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, "%s", name);
    read_back(fd, text);
    close(fd);
    calls++;
}

static void by_popen(const struct known *k, const char *own, long round)
{
    char command[700], line[256], text[64];
    snprintf(command, sizeof command, "%s; echo $?; cat '%s'", HAS_SHIM, k->path);
    FILE *f = popen(command, next(&(unsigned){round}) % 2 ? "r" : "re");
    CHECK(f && fgets(line, sizeof line, f), "%s", command);
    if (!bare && strcmp(line, "0\n") != 0)
        without++;
    CHECK(fgets(line, sizeof line, f) && strcmp(line, k->text) == 0, "%s gave %s", command, line);
    CHECK(pclose(f) == 0, "%s", command);
    snprintf(command, sizeof command, "cat >'%s'; exit 3", own);
    snprintf(text, sizeof text, "popen %ld\n", round);
    CHECK((f = popen(command, "we")) != NULL, "%s", command);
    fputs(text, f);
    int status = pclose(f);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: %x", command, status);
    holds(own, text);
    shells += 2;
}

static void by_system(const struct known *k, const char *own, long round)
{
    char command[800], text[64];
    struct stat st;
    snprintf(text, sizeof text, "system %ld", round);
    snprintf(command, sizeof command, "read x <'%s'; test \"$x\" = %.*s || exit 9; echo %s >'%s'; %s && exit 7; exit 8", k->path, (int)strlen(k->text) - 1,
             k->text, text, own, HAS_SHIM);
    int status = system(command);
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 7 || WEXITSTATUS(status) == 8), "%s: %x", command, status);
    if (!bare && WEXITSTATUS(status) == 8)
        without++;
    strcat(text, "\n");
    holds(own, text);
    snprintf(command, sizeof command, "rm '%s'; kill -9 $$", own);
    status = system(command);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: %x", command, status);
    FAILS(stat(own, &st), ENOENT, own);
    shells += 2;
    calls++;
}

static void by_spawn(const struct known *k, const char *own, long round)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, k->path, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, own, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char *cat[] = {"cat", NULL}, script[256], *words[] = {"zero", "word", NULL}, text[300];
    pid_t child;
    int status, e = round % 2 ? posix_spawnp(&child, "cat", &actions, NULL, cat, environ) : posix_spawn(&child, "/bin/cat", &actions, NULL, cat, environ);
    CHECK(e == 0 && waitpid(child, &status, 0) == child && status == 0, "cat: %d", e);
    holds(own, k->text);
    snprintf(script, sizeof script, "%s/bin/script", tree);
    snprintf(text, sizeof text, "%s word\n", script);
    e = posix_spawn(&child, script, &actions, NULL, words, environ);
    CHECK(e == 0 && waitpid(child, &status, 0) == child && status == 0, "%s: %d", script, e);
    holds(own, text);
    posix_spawn_file_actions_destroy(&actions);
    shells += 2;
}

static void *work(void *number)
{
    unsigned seed = (unsigned)(long)number;
    char own[256];
    long round = 0;
    do {
        /* Each round uses a new name, so that no earlier mark hides a write that was not marked. */
        snprintf(own, sizeof own, "%s/w/%d-%ld-%ld", tree, getpid(), (long)number, round % 5000);
        const struct known *k = &known[next(&seed) % DIRS][next(&seed) % FILES];
        switch (next(&seed) % 3) {
        case 0: by_popen(k, own, round); break;
        case 1: by_system(k, own, round); break;
        case 2: by_spawn(k, own, round); break;
        }
        operate(&seed, next(&seed) % ALL, 0);
    } while (++round < 6 || now() < end);
    return NULL;
}

/* Opens many streams at the same time, more than any program would. Each command writes its file when its stream is
 * closed. */
static void many_streams(void)
{
    FILE *streams[MANY];
    char command[400], name[300], text[64];
    for (int i = 0; i < MANY; i++) {
        snprintf(command, sizeof command, "cat >'%s/w/%d-%d'; " HAS_SHIM, tree, getpid(), i);
        CHECK((streams[i] = popen(command, "w")) != NULL, "stream %d", i);
        fprintf(streams[i], "many %d\n", i);
    }
    for (int i = 0; i < MANY; i++) {
        int status = pclose(streams[i]);
        if (!bare && status != 0)
            without++;
        snprintf(name, sizeof name, "%s/w/%d-%d", tree, getpid(), i);
        snprintf(text, sizeof text, "many %d\n", i);
        holds(name, text);
        shells++;
    }
}

static void on_interrupt(int n) { (void)n; }

static void disposition_is_ours(const char *after)
{
    struct sigaction action;
    sigaction(SIGINT, NULL, &action);
    CHECK(action.sa_handler == on_interrupt, "SIGINT after %s", after);
}

int main(int argc, char **argv)
{
    begin(argc, argv, 2);
    bare = getenv("STRESS_BARE") != NULL;
    end = now() + atof(argv[2]);
    signal(SIGINT, on_interrupt);
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    disposition_is_ours("all threads");
    many_streams();
    disposition_is_ours("many streams");
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a child is left");
    CHECK(system("exit 5") == 5 << 8, "system after all");
    printf("%ld programs, %ld of them without the shim\n", atomic_load(&shells), atomic_load(&without));
    CHECK(without == 0, "%ld of %ld programs ran without the shim", atomic_load(&without), atomic_load(&shells));
    return finish();
}
