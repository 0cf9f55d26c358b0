/*
 * Reads the words of a step: texts with tokens and escapes, numbers, flags, slots.
 */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

char *words[WORDS];
int count;
char space[WORDS][3 * PATH_MAX];

int slot_number(const char *word, char letter, int most) {
    if (word[0] != letter)
        return -1;
    int n = atoi(word + 1);
    return n >= 0 && n < most ? n : -1;
}

static int fd_of(const char *word) {
    if (!strcmp(word, "cwd"))
        return AT_FDCWD;
    int n = slot_number(word, 's', SLOTS);
    return n < 0 ? -1 : slots[n];
}

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t length_of_text;

/* Writes the word, with its tokens and escapes replaced, into `to`. */
static char *fill(const char *word, char *to) {
    char *at = to, *end = to + sizeof space[0] - PATH_MAX - 64;
    if (!strcmp(word, "\"\""))
        word = "";
    while (*word && at < end) {
        int n, used = 0;
        if (!strncmp(word, "{M}", 3))
            at += sprintf(at, "%s", root), word += 3;
        else if (!strncmp(word, "{E}", 3))
            at += sprintf(at, "%s/p/env", root), word += 3;
        else if (sscanf(word, "{fd%d}%n", &n, &used) == 1 && used && n >= 0 && n < SLOTS)
            at += sprintf(at, "/proc/self/fd/%d", slots[n]), word += used;
        else if (sscanf(word, "{dev%d}%n", &n, &used) == 1 && used && n >= 0 && n < SLOTS)
            at += sprintf(at, "/dev/fd/%d", slots[n]), word += used;
        else if (sscanf(word, "{up%d}%n", &n, &used) == 1 && used && n >= 0 && n < SLOTS)
            at += sprintf(at, "/proc/self/../self/fd/%d", slots[n]), word += used;
        else if (sscanf(word, "{task%d}%n", &n, &used) == 1 && used && n >= 0 && n < SLOTS)
            at += sprintf(at, "/proc/thread-self/fd/%d", slots[n]), word += used;
        else if (sscanf(word, "{pid%d}%n", &n, &used) == 1 && used && n >= 0 && n < SLOTS)
            at += sprintf(at, "/proc/%d/fd/%d", (int)getpid(), slots[n]), word += used;
        else if (sscanf(word, "{x%d}%n", &n, &used) == 1 && used && n >= 0 && n < 10000) {
            /* A token for many equal bytes. */
            for (; n && at < end; n--)
                *at++ = 'x';
            word += used;
        } else if (word[0] == '%' && word[1] && digit(word[1]) >= 0 && digit(word[2]) >= 0)
            *at++ = digit(word[1]) * 16 + digit(word[2]), word += 3;
        else
            *at++ = *word++;
    }
    *at = 0;
    length_of_text = at - to;
    return to;
}

const char *raw(int i) { return i < count ? words[i] : ""; }
char *text(int i) { return fill(raw(i), space[i]); }
long number(int i) { return strtol(raw(i), NULL, 0); }
long octal(int i) { return strtol(raw(i), NULL, 8); }
int at(int i) { return fd_of(raw(i)); }

int flags_of(const char *word, const struct flag *known) {
    char copy[512];
    int value = 0;
    snprintf(copy, sizeof copy, "%s", word);
    for (char *rest = copy, *one; (one = strsep(&rest, "|"));)
        for (const struct flag *f = known; f->name; f++)
            if (!strcmp(one, f->name))
                value |= f->value;
    return value;
}

const struct flag open_flags[] = {
    {"RDONLY", O_RDONLY}, {"WRONLY", O_WRONLY}, {"RDWR", O_RDWR}, {"CREAT", O_CREAT}, {"EXCL", O_EXCL},
    {"TRUNC", O_TRUNC}, {"APPEND", O_APPEND}, {"DIRECTORY", O_DIRECTORY}, {"NOFOLLOW", O_NOFOLLOW}, {"PATH", O_PATH},
    {"TMPFILE", O_TMPFILE}, {"CLOEXEC", O_CLOEXEC}, {"NONBLOCK", O_NONBLOCK}, {"SYNC", O_SYNC}, {"DIRECT", O_DIRECT},
    {"NOATIME", O_NOATIME}, {"NOCTTY", O_NOCTTY}, {NULL, 0},
};
const struct flag at_flags[] = {
    {"EMPTY_PATH", AT_EMPTY_PATH}, {"NOFOLLOW", AT_SYMLINK_NOFOLLOW}, {"FOLLOW", AT_SYMLINK_FOLLOW},
    {"EACCESS", AT_EACCESS}, {"REMOVEDIR", AT_REMOVEDIR}, {"NO_AUTOMOUNT", AT_NO_AUTOMOUNT}, {NULL, 0},
};
const struct flag rename_flags[] = {{"NOREPLACE", 1}, {"EXCHANGE", 2}, {"WHITEOUT", 4}, {NULL, 0}};
const struct flag glob_flags[] = {
    {"MARK", GLOB_MARK}, {"ONLYDIR", GLOB_ONLYDIR}, {"PERIOD", GLOB_PERIOD}, {"NOCHECK", GLOB_NOCHECK},
    {"BRACE", GLOB_BRACE}, {"ERR", GLOB_ERR}, {NULL, 0},
};
const struct flag xattr_flags[] = {{"CREATE", XATTR_CREATE}, {"REPLACE", XATTR_REPLACE}, {NULL, 0}};

/* Closes the descriptor that a slot holds, before a call makes a new one. */
void empty(int i) {
    int n = slot_number(raw(i), 's', SLOTS);
    if (n >= 0 && slots[n] >= 0)
        close(slots[n]), slots[n] = -1;
}

/* Adds a new descriptor to the answer, and puts it into a slot. */
void hold(int i, int fd) {
    int n = slot_number(raw(i), 's', SLOTS);
    if (fd >= 0)
        say("fd ");
    result(fd);
    if (n >= 0)
        slots[n] = fd < 0 ? -1 : fd;
}

struct timespec time_of(const char *word) {
    struct timespec t = {0, UTIME_OMIT};
    if (!strcmp(word, "now"))
        t.tv_nsec = UTIME_NOW;
    else if (strcmp(word, "omit"))
        t.tv_sec = atol(word), t.tv_nsec = strchr(word, '.') ? atol(strchr(word, '.') + 1) : 0;
    return t;
}
