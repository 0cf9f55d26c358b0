/*
 * Collects the answer of a step. Of long data only the first 120 bytes appear as text, and the rest as a length and a hash. A
 * result below zero appears as the name of the error.
 */
#include "steps.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The answer of a step so far. */
char said[1 << 16];
size_t length_said;

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof said - length_said - 2;
    int n = vsnprintf(said + length_said, room, format, arguments);
    va_end(arguments);
    if (n > 0)
        length_said += (size_t)n < room ? (size_t)n : room - 1;
}

void say_bytes(const char *bytes, size_t n) {
    size_t shown = n < 120 ? n : 120;
    say("'");
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = bytes[i];
        /* A long run of equal bytes appears as one byte and a number. */
        size_t same = 1;
        while (i + same < shown && bytes[i + same] == bytes[i])
            same++;
        if (c > ' ' && c < 127 && c != '%' && c != '\'')
            say("%c", c);
        else
            say("%%%02x", c);
        if (same > 8) {
            say("{*%zu}", same);
            i += same - 1;
        }
    }
    say("'");
    if (shown < n) {
        unsigned hash = 5381;
        for (size_t i = shown; i < n; i++)
            hash = hash * 33 + (unsigned char)bytes[i];
        say("+%zu#%08x", n - shown, hash);
    }
}

/* Adds a result to the answer: the number, or the name of the error. True if the call succeeded. */
int result(long r) {
    if (r >= 0) {
        say("%ld", r);
        return 1;
    }
    const char *name = strerrorname_np(errno);
    say("%s", name ? name : "?");
    return 0;
}

int worked(long r) {
    if (r < 0)
        return result(r);
    say("ok");
    return 1;
}
