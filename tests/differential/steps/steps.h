/*
 * Declares the variables and functions that several files of the program use. Each group names the file that defines it.
 */
#pragma once
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

enum { STEPS_IN = 60, ANSWERS = 61, FIRST_PEER = 62, PEERS = 3, SLOTS = 30, STREAMS = 10, MAPS = 10, WORDS = 16 };

/* main.c */
/* The argument ROOT. */
extern char root[PATH_MAX];
/* The path of this program. */
extern char self[PATH_MAX];
/* The argument START. */
extern struct timespec start;
/* The descriptors in the slots s0, s1, …; -1 in an empty slot. */
extern int slots[SLOTS];
/* The directory streams in the slots t0, t1, …; null in an empty slot. */
extern DIR *streams[STREAMS];
/* A buffer for data. */
extern char buffer[1 << 20];

/* Reads steps from the descriptor `from` and performs them, up to the end of the block or of the input. */
void perform_all(int from);

/* say.c */
/* The answer of a step so far, and its length in bytes. */
extern char said[1 << 16];
extern size_t length_said;

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_bytes(const char *bytes, size_t n);
/* Adds the number, or the name of the error, to the answer. True if the call succeeded. */
int result(long r);
/* Adds ok, or the name of the error, to the answer. True if the call succeeded. */
int worked(long r);

/* words.c */
/* The words of the step. */
extern char *words[WORDS];
/* The number of words. */
extern int count;
/* For each word, the memory for the result of text. */
extern char space[WORDS][3 * PATH_MAX];
/* Length in bytes of the last result of text. */
extern size_t length_of_text;

/* The word i, unchanged. */
const char *raw(int i);
/* The word i, with tokens and escapes replaced. */
char *text(int i);
/* The word i as a number: decimal, or with 0 or 0x before octal or hexadecimal digits. */
long number(int i);
/* The word i as an octal number. */
long octal(int i);
/* The descriptor that the word i means: `cwd`, or the descriptor in a slot. */
int at(int i);
/* The number of the slot that a word names: the kind of slot `letter` and a number below `most`. -1 for any other word. */
int slot_number(const char *word, char letter, int most);
void empty(int i);
void hold(int i, int fd);

struct flag {
    const char *name;
    int value;
};
extern const struct flag open_flags[], at_flags[], rename_flags[], glob_flags[], xattr_flags[];
int flags_of(const char *word, const struct flag *known);
/* The time that a word means: now, omit, or seconds and nanoseconds. */
struct timespec time_of(const char *word);

/* observe.c */
void say_stat(const struct stat *s);
/* Adds the attributes that a call has found, or the call's error, to the answer. */
void attributes(int r, const struct stat *s);
/* Adds lines to the answer in the order of their text, and frees them. */
void say_sorted(char **lines, size_t n);
void say_stream(DIR *stream);
/* Adds the entries of a stream to the answer, and closes the stream. */
void listing(DIR *stream);
/* Adds the entries that the kernel gives for a descriptor to the answer. */
void entries(int fd);

/* processes.c */
/* The descriptor from which this process reads steps. */
extern int input;
/* The number of blocks that this process has begun and not yet ended. */
extern int inside;
/* The processes that run beside the first one and take turns with it (the peers). In a peer, the peer's own entry has the `pid`
 * -1. */
extern struct peer {
    int steps, done;
    pid_t pid;
} peers[PEERS + 1];

/* Sends the answer of the step. */
void answer(void);
int next_line(int from, char *line, size_t room);
void run(int first);
void fork_block(void);
void static_block(void);
void *thread_block(void *nothing);
void start_peer(int n);
void pass_to_peer(int n, const char *line);
void go_on_in(const char *before, const char *program);
void say_state(void);

/* Perform a step of one family of verbs. Each function returns true if it knows the verb. */
int perform_on_descriptor(const char *verb);
int perform_looking(const char *verb);
int perform_changing(const char *verb);
int perform_on_process(const char *verb);
/* Whether the slot n of the mappings holds a mapping. */
int is_mapped(int n);

/* Whether the verb is one of the following names. A null pointer must follow the names. */
int one_of(const char *verb, const char *first, ...);
#define VERB(...) else if (one_of(verb, __VA_ARGS__, NULL))
