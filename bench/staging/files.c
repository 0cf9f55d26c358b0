/*
 * files THREADS LIST: makes the directories and files of LIST (lines of "d PATH" and "SIZE PATH") with THREADS threads,
 * and fills the files from one block of memory. Staging takes at least this time, because it also reads and decodes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct { long size; char *path; } *list;
static long count;
static atomic_long next;
static char block[1 << 20];

static void *work(void *unused) {
    (void)unused;
    for (long i; (i = atomic_fetch_add(&next, 1)) < count;) {
        int fd = open(list[i].path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0) {
            perror(list[i].path);
            exit(1);
        }
        for (long rest = list[i].size; rest > 0;) {
            ssize_t n = write(fd, block, rest < (long)sizeof block ? rest : (long)sizeof block);
            if (n < 0) {
                perror(list[i].path);
                exit(1);
            }
            rest -= n;
        }
        close(fd);
    }
    return NULL;
}

int main(int argc, char **argv) {
    char *line = NULL;
    size_t room = 0;
    long most = 0;
    memset(block, 'x', sizeof block);
    FILE *names = argc == 3 ? fopen(argv[2], "r") : NULL;
    if (!names) {
        fputs("usage: files THREADS LIST\n", stderr);
        return 2;
    }
    for (ssize_t n; (n = getline(&line, &room, names)) > 0;) {
        line[n - 1] = 0;
        char *path = strchr(line, ' ') + 1;
        if (*line == 'd') {
            mkdir(path, 0755);
            continue;
        }
        if (count == most) list = realloc(list, (most = 2 * most + 1024) * sizeof *list);
        list[count].size = atol(line);
        list[count++].path = strdup(path);
    }
    int threads = atoi(argv[1]);
    pthread_t others[64];
    for (int i = 1; i < threads && i < 64; i++) pthread_create(&others[i], NULL, work, NULL);
    work(NULL);
    for (int i = 1; i < threads && i < 64; i++) pthread_join(others[i], NULL);
    return 0;
}
