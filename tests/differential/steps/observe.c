/*
 * Adds the attributes of an object or the entries of a directory to the answer. So that two runs can be compared, times appear
 * only if a step or the tree has set them, and entries are in the order of their names.
 */
#include "steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Attributes. */

enum { FIRST_OF_NOW = 1600000000 };

static void say_time(const char *name, long sec, long nsec) {
    if (sec < FIRST_OF_NOW)
        say(" %s %ld.%09ld", name, sec, nsec);
    else
        say(" %s now", name);
}

void say_stat(const struct stat *s) {
    static const char *const kinds[16] = {[1] = "fifo", [2] = "char", [4] = "dir", [6] = "block", [8] = "file",
                                          [10] = "link", [12] = "socket"};
    const char *kind = kinds[s->st_mode >> 12 & 15];
    say("%s %o n%ld %d:%d size %ld blocks %ld of %ld <%lx:%lx>", kind ? kind : "?", s->st_mode & 07777, (long)s->st_nlink,
        (int)s->st_uid, (int)s->st_gid, (long)s->st_size, (long)s->st_blocks, (long)s->st_blksize, (long)s->st_dev,
        (long)s->st_ino);
    say_time("m", s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
    int later = s->st_ctim.tv_sec > start.tv_sec ||
                (s->st_ctim.tv_sec == start.tv_sec && s->st_ctim.tv_nsec >= start.tv_nsec);
    say(later ? " changed" : " as made");
}

void attributes(int r, const struct stat *s) {
    if (r < 0)
        result(r);
    else
        say_stat(s);
}

/* Listings. */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void say_sorted(char **lines, size_t n) {
    qsort(lines, n, sizeof *lines, by_text);
    say("%zu:", n);
    for (size_t i = 0; i < n; i++) {
        say(" %s", lines[i]);
        free(lines[i]);
    }
}

void say_stream(DIR *stream) {
    char **lines = NULL;
    size_t n = 0;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(stream)); errno = 0) {
        lines = realloc(lines, (n + 1) * sizeof *lines);
        if (asprintf(&lines[n++], "%s/%d<?:%lx>", entry->d_name, entry->d_type, (long)entry->d_ino) < 0)
            abort();
    }
    int error = errno;
    say_sorted(lines, n);
    free(lines);
    if (error)
        say(" then %s", strerrorname_np(error));
}

void listing(DIR *stream) {
    if (!stream) {
        result(-1);
        return;
    }
    say_stream(stream);
    closedir(stream);
}

struct kernel_entry {
    uint64_t ino;
    int64_t off;
    unsigned short length;
    unsigned char type;
    char name[];
};

void entries(int fd) {
    char *lines[4096], buffer[8192];
    size_t n = 0;
    long got;
    while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < got && n < 4096;) {
            struct kernel_entry *entry = (void *)(buffer + at);
            if (asprintf(&lines[n++], "%s/%d<?:%lx>", entry->name, entry->type, (long)entry->ino) < 0)
                abort();
            at += entry->length;
        }
    if (got < 0)
        result(-1), say(" ");
    say_sorted(lines, n);
}
