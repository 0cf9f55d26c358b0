/*
 * Helpers that all probes share. A probe program has several functions, and its first argument chooses one:
 *
 *     #include "probe.h"
 *     PROBE(missing) { struct stat s; CALL(stat(P("nope"), &s)); }
 *
 * A probe prints each call with its result, but no number that may differ between two trees.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* The prefix, and the directory that contains it. */
static const char *E, *M;

/* Joins a directory and a name to a path, which stays valid for fifteen more calls. P makes a path under the prefix, and B a
 * path beside the prefix. */
static const char *name_in(const char *directory, const char *name) {
    static char texts[16][8192];
    static int next;
    char *text = texts[next++ % 16];
    snprintf(text, sizeof texts[0], "%s/%s", directory, name);
    return text;
}
static const char *P(const char *name) { return name_in(E, name); }
static const char *B(const char *name) { return name_in(M, name); }

/* Prints a line, as printf does, and flushes. */
static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    puts("");
    fflush(stdout);
}

/* Prints a call and its result: the number, or the error. */
static long result_of(const char *call, long result, int error) {
    if (result == -1)
        say("%s: %s", call, strerror(error));
    else
        say("%s: %ld", call, result);
    errno = error;
    return result;
}
#define CALL(call) ({ errno = 0; long result_ = (long)(call); result_of(#call, result_, errno); })

/* Prints a call that returns a pointer, and whether it succeeded. */
static void *pointer_of(const char *call, const void *result, int error) {
    say("%s: %s", call, result ? "ok" : strerror(error));
    errno = error;
    return (void *)result;
}
#define POINTER(call) ({ errno = 0; const void *result_ = (call); pointer_of(#call, result_, errno); })

/* Prints a call that returns a descriptor, and whether it succeeded. */
static int descriptor_of(const char *call, int result, int error) {
    say("%s: %s", call, result >= 0 ? "ok" : strerror(error));
    errno = error;
    return result;
}
#define OPEN(call) ({ errno = 0; int result_ = (call); descriptor_of(#call, result_, errno); })

/* Prints the content of an open file, and closes the descriptor. */
static void contents(int fd) {
    char text[512];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd < 0)
        return;
    if (n < 0) {
        say("  read: %s", strerror(errno));
    } else {
        text[n] = 0;
        printf("  reads: %s%s", text, n && text[n - 1] == '\n' ? "" : "\n");
    }
    close(fd);
}
#define CONTENTS(call) contents(OPEN(call))

/* Prints the attributes of a file. The modification time is printed only if the probe did not set it to the present. */
static void attributes(const char *path) {
    struct stat s;
    if (lstat(path, &s)) {
        say("  %s: %s", path, strerror(errno));
        return;
    }
    printf("  %s: mode %o links %d uid %d gid %d", path, s.st_mode, (int)s.st_nlink, s.st_uid, s.st_gid);
    if (!S_ISDIR(s.st_mode))
        printf(" size %ld", (long)s.st_size);
    if (s.st_mtim.tv_sec < 1500000000)
        printf(" changed %ld.%09ld", s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    say("");
}

/* Whether two results of stat are equal, except for the access time. */
static int same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_size == b->st_size
        && a->st_nlink == b->st_nlink && a->st_uid == b->st_uid && a->st_gid == b->st_gid
        && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec
        && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Writes a text into a file, which is made or truncated. */
static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        say("  writing %s: %s", path, strerror(errno));
    close(fd);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Prints the names in a directory, sorted. */
static void listing(const char *path) {
    char *names[512];
    int n = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        say("  in %s: %s", path, strerror(errno));
        return;
    }
    for (struct dirent *entry; n < 512 && (entry = readdir(directory));)
        names[n++] = strdup(entry->d_name);
    closedir(directory);
    qsort(names, n, sizeof *names, by_text);
    printf("  in %s:", path);
    for (int i = 0; i < n; free(names[i++]))
        printf(" %s", names[i]);
    say("");
}

/* Runs a program, waits for it and prints its exit status. */
static void run(const char *program, ...) {
    const char *words[16] = {program};
    va_list arguments;
    va_start(arguments, program);
    for (int i = 1; i < 15 && (words[i] = va_arg(arguments, const char *)); i++) {
    }
    va_end(arguments);
    pid_t child = fork();
    if (child == 0) {
        execvp(program, (char *const *)words);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    say("  %s ends with %d", program, WEXITSTATUS(status));
}

/* Defines a function that a case can choose by its name. */
#define PROBE(name)                                                                                                    \
    static void probe_##name(void);                                                                                    \
    __attribute__((constructor)) static void list_##name(void) {                                                       \
        static struct probe probe = {#name, probe_##name};                                                             \
        probe.next = probes;                                                                                           \
        probes = &probe;                                                                                               \
    }                                                                                                                  \
    static void probe_##name(void)

static struct probe {
    const char *name;
    void (*function)(void);
    struct probe *next;
} *probes;

int main(int argc, char **argv) {
    E = getenv("E");
    M = getenv("M");
    for (struct probe *probe = argc > 1 && E && M ? probes : NULL; probe; probe = probe->next)
        if (!strcmp(probe->name, argv[1])) {
            probe->function();
            return 0;
        }
    fprintf(stderr, "failed to run the probe: the first argument names no function of this file, or E or M is not set\n");
    return 2;
}
