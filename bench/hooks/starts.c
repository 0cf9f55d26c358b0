/*
 * starts ROUNDS PROGRAM VARIABLE…: each of ROUNDS rounds starts PROGRAM without arguments once for each VARIABLE. The
 * VARIABLE is the whole environment of the program; "-" stands for an empty environment. Prints for each VARIABLE the
 * least and the median time from posix_spawn to the end of waitpid, in microseconds.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int rounds = atoi(argv[1]), kinds = argc - 3;
    double *times = calloc((size_t)rounds * kinds, sizeof *times);
    char *program[] = {argv[2], NULL};
    for (int r = 0; r < rounds; r++) {
        for (int k = 0; k < kinds; k++) {
            char *environment[] = {strcmp(argv[3 + k], "-") ? argv[3 + k] : NULL, NULL};
            pid_t child;
            int status;
            double begun = now();
            if (posix_spawn(&child, argv[2], NULL, NULL, program, environment)) return 1;
            if (waitpid(child, &status, 0) < 0 || status) return 1;
            times[(size_t)k * rounds + r] = now() - begun;
        }
    }
    for (int k = 0; k < kinds; k++) {
        double *t = times + (size_t)k * rounds;
        qsort(t, rounds, sizeof *t, compare);
        printf("%.1f %.1f\n", t[0], t[rounds / 2]);
    }
    return 0;
}
