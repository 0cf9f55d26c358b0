/*
 * steps: reads file operations line by line, performs them, and prints one line for each: its answer.
 *
 *   steps ROOT START launch BEFORE STEP…
 *                               performs the STEPs, and executes this program again, in the second form. If BEFORE is not
 *                               empty, it is a program that starts this one
 *   steps ROOT START [FILE]     reads steps from FILE, or from standard input, and answers on standard output
 *
 * A step is a verb and its words; the verbs are in verbs_*.c. In a word, {M} is ROOT, and {E} is ROOT/p/env. {fdN} is
 * /proc/self/fd/ and the number of the descriptor in slot N, and {devN} is the same below /dev/fd/. {pidN}, {upN} and {taskN}
 * are other names of this descriptor. %XX is a byte, and "" is an empty word. Slots s0 to s29 hold descriptors, t0 to t9
 * directory streams, and m0 to m9 mappings. START is the time, in seconds and nanoseconds, at which the steps began.
 *
 * Invariants:
 * - Each line that is read gets one line as its answer, even if a child dies.
 * - A step whose slot is empty uses descriptor -1, so every selection of a program's lines is a program too.
 * - Device and inode numbers are printed as <DEVICE:INODE>. The driver replaces them by names.
 * - Times are printed only if steps or the tree have set them.
 */
#include "steps.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char root[PATH_MAX], self[PATH_MAX];
struct timespec start;
int slots[SLOTS];
DIR *streams[STREAMS];
char buffer[1 << 20];

int one_of(const char *verb, const char *first, ...) {
    va_list others;
    int found = 0;
    va_start(others, first);
    for (const char *one = first; one; one = va_arg(others, const char *))
        found |= !strcmp(verb, one);
    va_end(others);
    return found;
}

static void perform(const char *verb) {
    if (!perform_on_descriptor(verb) && !perform_looking(verb) && !perform_changing(verb) && !perform_on_process(verb))
        say("no such verb: %s", verb);
}

static int perform_line(char *line) {
    if (line[0] >= '1' && line[0] <= '9' && line[1] == ' ') {
        pass_to_peer(line[0] - '0', line + 2);
        return 1;
    }
    char *split = strdup(line);
    count = 0;
    for (char *rest = split, *one; (one = strsep(&rest, " ")) && count < WORDS;)
        if (*one)
            words[count++] = one;
    int goes_on = 1;
    if (count && !strcmp(words[0], "end")) {
        goes_on = !inside;
        if (!inside) {
            say("no block");
            answer();
        }
    } else if (count) {
        perform(words[0]);
        answer();
    }
    free(split);
    return goes_on;
}

void perform_all(int from) {
    static __thread char line[2 * PATH_MAX];
    while (next_line(from, line, sizeof line) && perform_line(line))
        ;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: steps ROOT START [FILE]\n");
        return 2;
    }
    for (int i = 0; i < SLOTS; i++)
        slots[i] = -1;
    snprintf(root, sizeof root, "%s", argv[1]);
    start.tv_sec = atol(argv[2]);
    start.tv_nsec = strchr(argv[2], '.') ? atol(strchr(argv[2], '.') + 1) : 0;
    if (argc > 7 && !strcmp(argv[3], "--")) {
        input = atoi(argv[4]);
        char *rest = argv[5];
        for (int i = 0; i < SLOTS && rest; i++) {
            char *one = strsep(&rest, ",");
            slots[i] = one && *one ? atoi(one) : -1;
        }
        sscanf(argv[6], "%d,%d,%d,%d", &inside, &peers[1].pid, &peers[2].pid, &peers[3].pid);
        for (int i = 1; i <= PEERS; i++)
            peers[i].steps = FIRST_PEER + 4 * (i - 1), peers[i].done = peers[i].steps + 1;
        snprintf(self, sizeof self, "%s", argv[7]);
        say("started");
        answer();
    } else {
        snprintf(self, sizeof self, "%s", argv[0]);
        int launches = argc > 4 && !strcmp(argv[3], "launch");
        /* Close all other descriptors, so that steps see only those that steps have opened. */
        int by_hand = argc > 3 && !launches;
        int file = by_hand ? open(argv[3], O_RDONLY) : dup(0), nothing = open("/dev/null", O_RDWR);
        if (file < 0 || dup2(file, STEPS_IN) < 0 || dup2(1, ANSWERS) < 0) {
            perror(by_hand ? argv[3] : "steps");
            return 1;
        }
        dup2(nothing, 0), dup2(nothing, 1), dup2(nothing, 2);
        close(file), close(nothing);
        if (launches) {
            /* Perform the steps, as a shell would open files for a program, and execute this program again. The answers of these
             * steps are discarded. */
            for (int i = 5; i < argc; i++) {
                char line[PATH_MAX];
                snprintf(line, sizeof line, "%s", argv[i]);
                count = 0;
                for (char *rest = line, *one; (one = strsep(&rest, " ")) && count < WORDS;)
                    words[count++] = one;
                perform(words[0]);
                say(" ");
            }
            length_said = 0;
            go_on_in(*argv[4] ? argv[4] : NULL, self);
            return 1;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    perform_all(input);
    return 0;
}
