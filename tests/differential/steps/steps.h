/*
 * Declares what the files of the program share: the program's state, a step's answer, and a step's words.
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

/* main.c: ROOT, the program's own path, START, the contents of the slots, and a buffer for data. */
extern char root[PATH_MAX], self[PATH_MAX];
extern struct timespec start;
extern int slots[SLOTS];
extern DIR *streams[STREAMS];
extern char buffer[1 << 20];

/* Performs the steps that `from` has, up to the end of a block. */
void perform_all(int from);

/* say.c: the answer of a step so far. */
extern char said[1 << 16];
extern size_t length_said;

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_bytes(const char *bytes, size_t n);
/* Adds the number, or the name of the error, to the answer. True if the call succeeded. */
int result(long r);
/* Adds ok, or the name of the error, to the answer. True if the call succeeded. */
int worked(long r);

/* words.c: the words of the step, their number, and their texts. */
extern char *words[WORDS];
extern int count;
extern char space[WORDS][3 * PATH_MAX];
/* Bytes of the text that was made last. */
extern size_t length_of_text;

/* The word i, in four forms: unchanged, with tokens and escapes replaced, as a number, and as a descriptor. */
const char *raw(int i);
char *text(int i);
long number(int i);
long octal(int i);
int at(int i);
/* The number of the slot that a word names, or -1 if the word names no slot of the kind `letter`. */
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

/* processes.c: the descriptor from which steps are read, and the number of open blocks around this process or thread. */
extern int input, inside;
/* The peers: processes that run beside the first one and take turns with it. In a peer, the peer's own entry has the `pid` -1. */
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
/* Whether mapping n exists. */
int is_mapped(int n);

/* Whether the verb is one of the names, which end with a null pointer. */
int one_of(const char *verb, const char *first, ...);
#define VERB(...) else if (one_of(verb, __VA_ARGS__, NULL))
