/* Prints its arguments, environment and signals, and reads a file of its own tree. Other probes start this program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        printf("  argv[%d] %s\n", i, argv[i]);
    int n = 0;
    for (; environ && environ[n]; n++) {
    }
    qsort(environ, n, sizeof *environ, by_text);
    for (int i = 0; i < n; i++)
        if (strncmp(environ[i], "_=", 2))
            printf("  %s\n", environ[i]);
    char name[8192];
    long length = readlink("/proc/self/exe", name, 4096);
    printf("  exe %.*s\n", (int)length, name);
    sigset_t blocked;
    struct sigaction action;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigaction(SIGUSR2, NULL, &action);
    printf("  SIGUSR1 %s, SIGUSR2 %s, %s\n", sigismember(&blocked, SIGUSR1) ? "blocked" : "free",
           action.sa_handler == SIG_IGN ? "ignored" : "default", getpgrp() == getpid() ? "own group" : "group of others");
    /* Find the file by the program's own name (/proc/self/exe), not by a variable. */
    char *slash = length > 0 ? memrchr(name, '/', length) : NULL;
    if (slash) {
        strcpy(slash, "/../a");
        char text[64];
        int fd = open(name, O_RDONLY);
        long got = fd < 0 ? -1 : read(fd, text, sizeof text);
        printf("  reads %.*s", got < 0 ? 0 : (int)got, text);
        if (got < 0)
            printf("nothing: %s\n", strerror(errno));
    }
    fflush(stdout);
    /* If the first argument is "again", start this program once more, with the environment that it got. */
    if (argc > 1 && !strcmp(argv[1], "again") && slash) {
        *slash = 0;
        strcat(name, "/show");
        execl(name, "the same again", "last", NULL);
        printf("  again: %s\n", strerror(errno));
    }
    return 5;
}
