/*
 * steps: performs file operations that it reads line by line, and says in one line what each of them did.
 *
 *   steps ROOT START [FILE]     reads steps from FILE, or from standard input, and answers on standard output
 *
 * A step is a verb and its words; README.md has the list. In a word, {M} is ROOT, {E} is ROOT/p/env, {fdN} is
 * /proc/self/fd/ and the number of the descriptor in slot N, {devN} the same in /dev/fd/, {pidN}, {upN}
 * and {taskN} other ways to write it, and %XX is a byte; "" is an
 * empty word. Slots s0 to s29 hold descriptors, t0 to t9 directory streams, m0 to m9 mappings. START is the time, in seconds
 * and nanoseconds, before which nothing was changed by a step.
 *
 * Invariants: one line in, one line out, also when a child dies; a step whose slot is empty uses descriptor -1, so any
 * selection of the lines of a program is a program. Device and inode numbers are printed as <DEVICE:INODE>; the driver
 * numbers them by their first appearance. Times are printed only where steps or the tree have set them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { STEPS_IN = 60, ANSWERS = 61, FIRST_PEER = 62, PEERS = 3, SLOTS = 30, STREAMS = 10, MAPS = 10, WORDS = 16 };
enum { FIRST_OF_NOW = 1600000000 };

static char root[PATH_MAX], self[PATH_MAX];
static struct timespec start;
static int slots[SLOTS];
static DIR *streams[STREAMS];
static struct mapping {
    char *at;
    size_t length;
} maps[MAPS];

/* What a step says. */
static char said[1 << 16];
static size_t length_said;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof said - length_said - 2;
    int n = vsnprintf(said + length_said, room, format, arguments);
    va_end(arguments);
    if (n > 0)
        length_said += (size_t)n < room ? (size_t)n : room - 1;
}

static void say_bytes(const char *bytes, size_t n) {
    size_t shown = n < 120 ? n : 120;
    say("'");
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = bytes[i];
        /* Long runs of one byte are said once. */
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

static int input = STEPS_IN;

/* Processes that live beside the first one and take turns with it. In a peer its own `pid` is -1. */
static struct peer {
    int steps, done;
    pid_t pid;
} peers[PEERS + 1];

static void answer(void) {
    said[length_said++] = '\n';
    for (size_t done = 0; done < length_said;) {
        ssize_t n = syscall(SYS_write, ANSWERS, said + done, length_said - done);
        if (n < 0 && errno != EINTR)
            _exit(9);
        done += n > 0 ? n : 0;
    }
    length_said = 0;
    for (int i = 1; i <= PEERS; i++)
        if (peers[i].pid == -1)
            syscall(SYS_write, input + 1, "", 1); /* the first process's turn again */
}

/* A result: the number, or the name of the error. True where the call succeeded. */
static int result(long r) {
    if (r >= 0) {
        say("%ld", r);
        return 1;
    }
    const char *name = strerrorname_np(errno);
    say("%s", name ? name : "?");
    return 0;
}

static int worked(long r) {
    if (r < 0)
        return result(r);
    say("ok");
    return 1;
}

/* Words. */

static char *words[WORDS];
static int count;
static char space[WORDS][3 * PATH_MAX];

static int slot_number(const char *word, char letter, int most) {
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

static size_t length_of_text;

/* The word with its tokens and escapes replaced, in `to`. */
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
            /* Many bytes. */
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

static const char *raw(int i) { return i < count ? words[i] : ""; }
static char *text(int i) { return fill(raw(i), space[i]); }
static long number(int i) { return strtol(raw(i), NULL, 0); }
static long octal(int i) { return strtol(raw(i), NULL, 8); }
static int at(int i) { return fd_of(raw(i)); }

struct flag {
    const char *name;
    int value;
};

static int flags_of(const char *word, const struct flag *known) {
    char copy[512];
    int value = 0;
    snprintf(copy, sizeof copy, "%s", word);
    for (char *rest = copy, *one; (one = strsep(&rest, "|"));)
        for (const struct flag *f = known; f->name; f++)
            if (!strcmp(one, f->name))
                value |= f->value;
    return value;
}

static const struct flag open_flags[] = {
    {"RDONLY", O_RDONLY}, {"WRONLY", O_WRONLY}, {"RDWR", O_RDWR}, {"CREAT", O_CREAT}, {"EXCL", O_EXCL},
    {"TRUNC", O_TRUNC}, {"APPEND", O_APPEND}, {"DIRECTORY", O_DIRECTORY}, {"NOFOLLOW", O_NOFOLLOW}, {"PATH", O_PATH},
    {"TMPFILE", O_TMPFILE}, {"CLOEXEC", O_CLOEXEC}, {"NONBLOCK", O_NONBLOCK}, {"SYNC", O_SYNC}, {"DIRECT", O_DIRECT},
    {"NOATIME", O_NOATIME}, {"NOCTTY", O_NOCTTY}, {NULL, 0},
};
static const struct flag at_flags[] = {
    {"EMPTY_PATH", AT_EMPTY_PATH}, {"NOFOLLOW", AT_SYMLINK_NOFOLLOW}, {"FOLLOW", AT_SYMLINK_FOLLOW},
    {"EACCESS", AT_EACCESS}, {"REMOVEDIR", AT_REMOVEDIR}, {"NO_AUTOMOUNT", AT_NO_AUTOMOUNT}, {NULL, 0},
};
static const struct flag rename_flags[] = {{"NOREPLACE", 1}, {"EXCHANGE", 2}, {"WHITEOUT", 4}, {NULL, 0}};
static const struct flag glob_flags[] = {
    {"MARK", GLOB_MARK}, {"ONLYDIR", GLOB_ONLYDIR}, {"PERIOD", GLOB_PERIOD}, {"NOCHECK", GLOB_NOCHECK},
    {"BRACE", GLOB_BRACE}, {"ERR", GLOB_ERR}, {NULL, 0},
};
static const struct flag xattr_flags[] = {{"CREATE", XATTR_CREATE}, {"REPLACE", XATTR_REPLACE}, {NULL, 0}};

/* Holds a descriptor in a slot; one that the slot has is closed before the call that makes the new one. */
static void empty(int i) {
    int n = slot_number(raw(i), 's', SLOTS);
    if (n >= 0 && slots[n] >= 0)
        close(slots[n]), slots[n] = -1;
}

static void hold(int i, int fd) {
    int n = slot_number(raw(i), 's', SLOTS);
    if (fd >= 0)
        say("fd ");
    result(fd);
    if (n >= 0)
        slots[n] = fd < 0 ? -1 : fd;
}

/* Attributes. */

static void say_time(const char *name, long sec, long nsec) {
    if (sec < FIRST_OF_NOW)
        say(" %s %ld.%09ld", name, sec, nsec);
    else
        say(" %s now", name);
}

static void say_stat(const struct stat *s) {
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

static void attributes(int r, const struct stat *s) {
    if (r < 0)
        result(r);
    else
        say_stat(s);
}

static struct timespec time_of(const char *word) {
    struct timespec t = {0, UTIME_OMIT};
    if (!strcmp(word, "now"))
        t.tv_nsec = UTIME_NOW;
    else if (strcmp(word, "omit"))
        t.tv_sec = atol(word), t.tv_nsec = strchr(word, '.') ? atol(strchr(word, '.') + 1) : 0;
    return t;
}

/* Listings. */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void say_sorted(char **lines, size_t n) {
    qsort(lines, n, sizeof *lines, by_text);
    say("%zu:", n);
    for (size_t i = 0; i < n; i++) {
        say(" %s", lines[i]);
        free(lines[i]);
    }
}

static void say_stream(DIR *stream) {
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

static void listing(DIR *stream) {
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

static void entries(int fd) {
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

static __thread char *walked[4096];
static __thread size_t length_walked;

static int walk(const char *path, const struct stat *s, int kind, struct FTW *where) {
    if (length_walked < 4096 && asprintf(&walked[length_walked], "%s/%d/%d/%o", path, kind, where->level,
                                         kind == FTW_NS ? 0 : s->st_mode) > 0)
        length_walked++;
    return 0;
}

/* Whole files by stdio. */
static void stdio(const char *path, const char *mode, const char *put) {
    FILE *file = fopen(path, mode);
    if (!file) {
        result(-1);
        return;
    }
    char buffer[4096];
    if (*mode == 'r') {
        size_t n = fread(buffer, 1, sizeof buffer, file);
        int bad = ferror(file);
        say_bytes(buffer, n);
        if (bad)
            say(" error");
    }
    if (*put) {
        if (*mode == 'r')
            fseek(file, 0, SEEK_CUR);
        say(" put %d", fputs(put, file) >= 0);
    }
    say(" closed ");
    result(fclose(file));
}

/* Locks. */
static void record_lock(int i, int command) {
    static const struct flag types[] = {{"RD", F_RDLCK}, {"WR", F_WRLCK}, {"UN", F_UNLCK}, {NULL, 0}};
    struct flock lock = {.l_type = flags_of(raw(i + 1), types), .l_whence = SEEK_SET, .l_start = number(i + 2),
                         .l_len = number(i + 3)};
    int r = fcntl(at(i), command, &lock);
    if (!worked(r))
        return;
    if (command == F_GETLK || command == F_OFD_GETLK)
        say(" %s %ld+%ld %s", lock.l_type == F_UNLCK ? "free" : lock.l_type == F_RDLCK ? "read" : "write",
            (long)lock.l_start, (long)lock.l_len, lock.l_type == F_UNLCK ? "" : lock.l_pid == -1 ? "file" : "process");
}

/* Runs a program and says what it prints. */
static void run(int first) {
    char *arguments[WORDS + 1];
    int n = 0, out[2], status = 0;
    for (int i = first; i < count; i++)
        arguments[n++] = text(i);
    arguments[n] = NULL;
    if (!n || pipe2(out, O_CLOEXEC) < 0) {
        say("no pipe");
        return;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, out[1], 2);
    pid_t child;
    int error = posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    if (error) {
        close(out[0]);
        say("%s", strerrorname_np(error));
        return;
    }
    char buffer[16384];
    size_t got = 0;
    for (ssize_t more; got < sizeof buffer && (more = read(out[0], buffer + got, sizeof buffer - got)) > 0;)
        got += more;
    close(out[0]);
    waitpid(child, &status, 0);
    say("%d ", status);
    say_bytes(buffer, got);
}

/* Processes. */

/* One line of input, by single bytes: whoever shares the descriptor reads on where this one stopped. */
static int next_line(int from, char *line, size_t room) {
    size_t n = 0;
    for (;;) {
        ssize_t r = syscall(SYS_read, from, line + n, 1);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return 0;
        if (line[n] == '\n')
            break;
        if (n + 2 < room)
            n++;
    }
    line[n] = 0;
    return 1;
}

static void perform_all(int from);

static void say_status(int status) {
    if (WIFSIGNALED(status))
        say("the child died of %s", sigabbrev_np(WTERMSIG(status)));
    else
        say("the child ended with %d", WEXITSTATUS(status));
}

static int inside; /* blocks that this process or thread is in */

static void fork_block(void) {
    pid_t child = fork();
    if (child == 0) {
        inside = 1;
        say("in the child");
        answer();
        perform_all(input);
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        result(-1);
        return;
    }
    say_status(status);
}

static void *thread_block(void *nothing) {
    inside++;
    perform_all(input);
    inside--;
    return nothing;
}

static void start_peer(int n) {
    if (n < 1 || n > PEERS || peers[n].pid || input != STEPS_IN) {
        say("no");
        return;
    }
    int to[2], back[2];
    if (pipe(to) < 0 || pipe(back) < 0) {
        say("no pipe");
        return;
    }
    int base = FIRST_PEER + 4 * (n - 1);
    dup2(to[1], base), dup2(back[0], base + 1), dup2(to[0], base + 2), dup2(back[1], base + 3);
    close(to[0]), close(to[1]), close(back[0]), close(back[1]);
    pid_t child = fork();
    if (child == 0) {
        close(base), close(base + 1);
        for (int i = 1; i <= PEERS; i++)
            peers[i].pid = i == n ? -1 : peers[i].pid;
        input = base + 2;
        perform_all(input);
        _exit(0);
    }
    close(base + 2), close(base + 3);
    if (!worked(child < 0 ? -1 : 0))
        return;
    peers[n] = (struct peer){base, base + 1, child};
}

/* Lets a peer do a step; it answers by itself. */
static void pass_to_peer(int n, const char *line) {
    struct peer *peer = n >= 1 && n <= PEERS ? &peers[n] : NULL;
    if (!peer || peer->pid <= 0) {
        say("no such process");
        answer();
        return;
    }
    char done = 0;
    if (dprintf(peer->steps, "%s\n", line) > 0 && syscall(SYS_read, peer->done, &done, 1) == 1)
        return;
    int status = 0;
    waitpid(peer->pid, &status, 0);
    peer->pid = 0;
    close(peer->steps), close(peer->done);
    say_status(status);
    answer();
}

static void go_on_in(const char *program) {
    char state[SLOTS * 8 + 32], at_input[16], *p = state;
    for (int i = 0; i < SLOTS; i++)
        p += sprintf(p, "%d,", slots[i]);
    sprintf(at_input, "%d", input);
    char now[64];
    snprintf(now, sizeof now, "%ld.%09ld", (long)start.tv_sec, start.tv_nsec);
    char peer_state[128];
    snprintf(peer_state, sizeof peer_state, "%d,%d,%d,%d", inside, peers[1].pid, peers[2].pid, peers[3].pid);
    char *arguments[] = {(char *)program, root, now, "--", at_input, state, peer_state, self, NULL};
    execv(program, arguments);
    result(-1);
}

/* For the driver: what is open, where this process stands and who it is. */
static void say_state(void) {
    char link[PATH_MAX];
    ssize_t n = readlink("/proc/self/cwd", link, sizeof link - 1);
    link[n < 0 ? 0 : n] = 0;
    say("%d\t%d:%d\t%s", (int)getpid(), (int)geteuid(), (int)getegid(), link);
    for (int i = 0; i < SLOTS; i++) {
        struct stat s;
        if (slots[i] < 0 || fstat(slots[i], &s) < 0)
            continue;
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", slots[i]);
        n = readlink(name, link, sizeof link - 1);
        link[n < 0 ? 0 : n] = 0;
        say("\t%d %d %x %lx %lx %o %s", i, slots[i], fcntl(slots[i], F_GETFL), (long)s.st_dev, (long)s.st_ino, s.st_mode, link);
    }
    for (int i = 0; i < STREAMS; i++)
        if (streams[i])
            say("\tt%d", i);
    for (int i = 0; i < MAPS; i++)
        if (maps[i].at)
            say("\tm%d", i);
}

/* The verbs. */

static int one_of(const char *verb, const char *first, ...) {
    va_list others;
    int found = 0;
    va_start(others, first);
    for (const char *one = first; one; one = va_arg(others, const char *))
        found |= !strcmp(verb, one);
    va_end(others);
    return found;
}

#define VERB(...) else if (one_of(verb, __VA_ARGS__, NULL))

static void perform(const char *verb) {
    static char buffer[1 << 20], more[1 << 16];
    struct stat s;
    struct timespec times[2];
    int n;
    if (!strcmp(verb, "open")) {
        empty(1);
        hold(1, open(text(2), flags_of(raw(3), open_flags), octal(4)));
    }
    VERB("open64") { empty(1); hold(1, open64(text(2), flags_of(raw(3), open_flags), octal(4))); }
    VERB("openat") { empty(1); hold(1, openat(at(2), text(3), flags_of(raw(4), open_flags), octal(5))); }
    VERB("openat-raw") { empty(1); hold(1, syscall(SYS_openat, at(2), text(3), flags_of(raw(4), open_flags), octal(5))); }
    VERB("creat") { empty(1); hold(1, creat(text(2), octal(3))); }
    VERB("read", "readv") {
        size_t want = number(2);
        if (want > sizeof buffer)
            want = sizeof buffer;
        struct iovec parts[2] = {{buffer, want / 2}, {buffer + want / 2, want - want / 2}};
        ssize_t got = *verb && verb[4] == 'v' ? readv(at(1), parts, 2) : read(at(1), buffer, want);
        if (result(got))
            say(" "), say_bytes(buffer, got);
    }
    VERB("pread") {
        ssize_t got = pread(at(1), buffer, number(2) > (long)sizeof buffer ? (long)sizeof buffer : number(2), number(3));
        if (result(got))
            say(" "), say_bytes(buffer, got);
    }
    VERB("write") { char *t = text(2); result(write(at(1), t, length_of_text)); }
    VERB("pwrite") { char *t = text(2); result(pwrite(at(1), t, length_of_text, number(3))); }
    VERB("ftruncate") worked(ftruncate(at(1), number(2)));
    VERB("fallocate") worked(fallocate(at(1), 0, number(2), number(3)));
    VERB("lseek") {
        static const struct flag whences[] = {{"SET", 0}, {"CUR", 1}, {"END", 2}, {"DATA", 3}, {"HOLE", 4}, {NULL, 0}};
        result(lseek(at(1), number(2), flags_of(raw(3), whences)));
    }
    VERB("close") {
        n = slot_number(raw(1), 's', SLOTS);
        worked(close(at(1)));
        if (n >= 0)
            slots[n] = -1;
    }
    VERB("dup") { empty(2); hold(2, dup(at(1))); }
    VERB("fdupfd") { empty(2); hold(2, fcntl(at(1), F_DUPFD_CLOEXEC, 3)); }
    VERB("dup2") {
        /* Over the descriptor of the second slot, which stays where it is. */
        int to = at(2);
        result(dup2(at(1), to) < 0 ? -1 : 0);
    }
    VERB("getfl") { n = fcntl(at(1), F_GETFL); if (n < 0) result(n); else say("%x", n); }
    VERB("setfl") worked(fcntl(at(1), F_SETFL, flags_of(raw(2), open_flags)));
    VERB("getfd") result(fcntl(at(1), F_GETFD));
    VERB("setfd") worked(fcntl(at(1), F_SETFD, number(2)));
    VERB("flock") {
        static const struct flag kinds[] = {{"SH", LOCK_SH}, {"EX", LOCK_EX}, {"UN", LOCK_UN}, {NULL, 0}};
        worked(flock(at(1), flags_of(raw(2), kinds) | LOCK_NB));
    }
    VERB("lock") record_lock(1, F_SETLK);
    VERB("getlk") record_lock(1, F_GETLK);
    VERB("ofdlock") record_lock(1, F_OFD_SETLK);
    VERB("ofdgetlk") record_lock(1, F_OFD_GETLK);
    VERB("lockf") {
        static const struct flag kinds[] = {{"TLOCK", F_TLOCK}, {"ULOCK", F_ULOCK}, {"TEST", F_TEST}, {NULL, 0}};
        worked(lockf(at(1), flags_of(raw(2), kinds), number(3)));
    }
    VERB("stat") attributes(stat(text(1), &s), &s);
    VERB("lstat") attributes(lstat(text(1), &s), &s);
    VERB("fstat") attributes(fstat(at(1), &s), &s);
    VERB("fstatat") attributes(fstatat(at(1), text(2), &s, flags_of(raw(3), at_flags)), &s);
    VERB("statx") {
        struct statx x;
        if (statx(at(1), text(2), flags_of(raw(3), at_flags), STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
            result(-1);
        else {
            s = (struct stat){.st_mode = x.stx_mode, .st_nlink = x.stx_nlink, .st_uid = x.stx_uid, .st_gid = x.stx_gid,
                              .st_size = x.stx_size, .st_blocks = x.stx_blocks, .st_blksize = x.stx_blksize,
                              .st_dev = (dev_t)x.stx_dev_major << 8 | x.stx_dev_minor, .st_ino = x.stx_ino};
            s.st_mtim = (struct timespec){x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec};
            s.st_ctim = (struct timespec){x.stx_ctime.tv_sec, x.stx_ctime.tv_nsec};
            say_stat(&s);
            say(" mask %x", x.stx_mask & (STATX_BASIC_STATS | STATX_BTIME));
        }
    }
    VERB("access") worked(access(text(1), number(2)));
    VERB("euidaccess") worked(euidaccess(text(1), number(2)));
    VERB("faccessat") worked(faccessat(at(1), text(2), number(3), flags_of(raw(4), at_flags)));
    VERB("readlink", "readlinkat") {
        int by_name = verb[8] == 0;
        long room = number(by_name ? 2 : 3);
        ssize_t got = by_name ? readlink(text(1), buffer, room) : readlinkat(at(1), text(2), buffer, room);
        if (result(got))
            say(" "), say_bytes(buffer, got);
    }
    VERB("realpath") { if (realpath(text(1), buffer)) say("%s", buffer); else result(-1); }
    VERB("list") listing(opendir(text(1)));
    VERB("listat") { n = openat(at(1), text(2), O_RDONLY | O_DIRECTORY); if (n < 0) result(n); else listing(fdopendir(n)); }
    VERB("getdents") entries(at(1));
    VERB("opendir", "fdopendir") {
        n = slot_number(raw(1), 't', STREAMS);
        if (n < 0)
            return;
        if (streams[n])
            closedir(streams[n]), streams[n] = NULL;
        if (*verb == 'o')
            streams[n] = opendir(text(2));
        else {
            /* The stream has the descriptor from here on. */
            streams[n] = fdopendir(at(2));
            int of = slot_number(raw(2), 's', SLOTS);
            if (streams[n] && of >= 0)
                slots[of] = -1;
        }
        if (streams[n]) say("fd %d", dirfd(streams[n])); else result(-1);
    }
    VERB("readdir", "rewinddir", "closedir", "dirfd") {
        n = slot_number(raw(1), 't', STREAMS);
        DIR *stream = n < 0 ? NULL : streams[n];
        if (!stream)
            say("no stream");
        else if (verb[0] == 'd')
            attributes(fstat(dirfd(stream), &s), &s);
        else if (verb[2] == 'w')
            rewinddir(stream), say("ok");
        else if (verb[0] == 'c')
            worked(closedir(stream)), streams[n] = NULL;
        else
            say_stream(stream);
    }
    VERB("chdir") worked(chdir(text(1)));
    VERB("fchdir") worked(fchdir(at(1)));
    VERB("getcwd") { if (getcwd(buffer, PATH_MAX)) say("%s", buffer); else result(-1); }
    VERB("mkdir") worked(mkdir(text(1), octal(2)));
    VERB("mkdirat") worked(mkdirat(at(1), text(2), octal(3)));
    VERB("rmdir") worked(rmdir(text(1)));
    VERB("unlink") worked(unlink(text(1)));
    VERB("unlinkat") worked(unlinkat(at(1), text(2), flags_of(raw(3), at_flags)));
    VERB("remove") worked(remove(text(1)));
    VERB("rename") worked(rename(text(1), text(2)));
    VERB("renameat") worked(renameat(at(1), text(2), at(3), text(4)));
    VERB("renameat2") worked(renameat2(at(1), text(2), at(3), text(4), flags_of(raw(5), rename_flags)));
    VERB("link") worked(link(text(1), text(2)));
    VERB("linkat") worked(linkat(at(1), text(2), at(3), text(4), flags_of(raw(5), at_flags)));
    VERB("symlink") worked(symlink(text(1), text(2)));
    VERB("symlinkat") worked(symlinkat(text(1), at(2), text(3)));
    VERB("mkfifo") worked(mkfifo(text(1), octal(2)));
    VERB("mknod") worked(mknod(text(1), S_IFIFO | octal(2), 0));
    VERB("mknodat") worked(mknodat(at(1), text(2), S_IFREG | octal(3), 0));
    VERB("chmod") worked(chmod(text(1), octal(2)));
    VERB("fchmod") worked(fchmod(at(1), octal(2)));
    VERB("fchmodat") worked(fchmodat(at(1), text(2), octal(3), flags_of(raw(4), at_flags)));
    VERB("chown") worked(chown(text(1), number(2), number(3)));
    VERB("lchown") worked(lchown(text(1), number(2), number(3)));
    VERB("fchown") worked(fchown(at(1), number(2), number(3)));
    VERB("fchownat") worked(fchownat(at(1), text(2), number(3), number(4), flags_of(raw(5), at_flags)));
    VERB("utimensat") {
        times[0] = time_of(raw(3)), times[1] = time_of(raw(4));
        worked(utimensat(at(1), text(2), times, flags_of(raw(5), at_flags)));
    }
    VERB("futimens") { times[0] = time_of(raw(2)), times[1] = time_of(raw(3)); worked(futimens(at(1), times)); }
    VERB("truncate") worked(truncate(text(1), number(2)));
    VERB("umask") say("%o", umask(octal(1)));
    VERB("setxattr") { char *p = text(1), *a = text(2), *v = text(3); worked(setxattr(p, a, v, length_of_text, flags_of(raw(4), xattr_flags))); }
    VERB("lsetxattr") { char *p = text(1), *a = text(2), *v = text(3); worked(lsetxattr(p, a, v, length_of_text, flags_of(raw(4), xattr_flags))); }
    VERB("fsetxattr") { char *a = text(2), *v = text(3); worked(fsetxattr(at(1), a, v, length_of_text, flags_of(raw(4), xattr_flags))); }
    VERB("getxattr", "lgetxattr", "fgetxattr") {
        char *a = text(2);
        ssize_t got = *verb == 'g' ? getxattr(text(1), a, buffer, number(3))
                      : *verb == 'l' ? lgetxattr(text(1), a, buffer, number(3)) : fgetxattr(at(1), a, buffer, number(3));
        if (result(got) && number(3))
            say(" "), say_bytes(buffer, got);
    }
    VERB("listxattr", "llistxattr", "flistxattr") {
        ssize_t got = verb[0] == 'f' ? flistxattr(at(1), more, number(2))
                      : verb[1] == 'l' ? llistxattr(text(1), more, number(2)) : listxattr(text(1), more, number(2));
        if (result(got) && number(2)) {
            char *names[1024];
            size_t found = 0;
            for (char *p = more; p < more + got && found < 1024; p += strlen(p) + 1)
                names[found++] = strdup(p);
            say(" "), say_sorted(names, found);
        }
    }
    VERB("removexattr") worked(removexattr(text(1), text(2)));
    VERB("lremovexattr") worked(lremovexattr(text(1), text(2)));
    VERB("fremovexattr") worked(fremovexattr(at(1), text(2)));
    VERB("map") {
        /* map mN sN LENGTH (READ|WRITE|PRIVATE) */
        n = slot_number(raw(1), 'm', MAPS);
        if (n < 0)
            return;
        if (maps[n].at)
            munmap(maps[n].at, maps[n].length), maps[n].at = NULL;
        int writable = !!strstr(raw(4), "WRITE"), alone = !!strstr(raw(4), "PRIVATE");
        size_t length = number(3);
        char *p = mmap(NULL, length, PROT_READ | (writable ? PROT_WRITE : 0), alone ? MAP_PRIVATE : MAP_SHARED, at(2), 0);
        if (worked(p == MAP_FAILED ? -1 : 0))
            maps[n] = (struct mapping){p, length};
    }
    VERB("mapread", "mapwrite", "unmap") {
        n = slot_number(raw(1), 'm', MAPS);
        struct mapping *m = n < 0 ? NULL : &maps[n];
        if (!m || !m->at)
            say("no mapping");
        else if (verb[0] == 'u')
            worked(munmap(m->at, m->length)), m->at = NULL;
        else {
            /* By write and read, so that a page beyond the file's end is EFAULT and no signal. */
            int through[2];
            if (pipe2(through, O_CLOEXEC | O_NONBLOCK) < 0) {
                say("no pipe");
                return;
            }
            if (verb[3] == 'r') {
                size_t most = m->length < 4096 ? m->length : 4096;
                ssize_t got = syscall(SYS_write, through[1], m->at, most);
                if (result(got))
                    say(" "), say_bytes(m->at, got);
            } else {
                char *t = text(3);
                size_t from = number(2), put = length_of_text;
                if (from + put > m->length)
                    say("too long");
                else if (syscall(SYS_write, through[1], t, put) == (ssize_t)put)
                    result(syscall(SYS_read, through[0], m->at + from, put));
            }
            close(through[0]), close(through[1]);
        }
    }
    VERB("fsync") worked(fsync(at(1)));
    VERB("fdatasync") worked(fdatasync(at(1)));
    VERB("syncfs") worked(syncfs(at(1)));
    VERB("fadvise") worked(posix_fadvise(at(1), 0, 0, POSIX_FADV_WILLNEED));
    VERB("name") {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", at(1));
        ssize_t got = readlink(name, buffer, PATH_MAX);
        if (got < 0) result(-1); else say_bytes(buffer, got);
    }
    VERB("fopen") { text(3); stdio(text(1), raw(2), count > 3 ? space[3] : ""); }
    VERB("freopen") {
        FILE *file = fopen("/dev/null", "r");
        file = file ? freopen(text(1), raw(2), file) : NULL;
        if (!file)
            result(-1);
        else {
            size_t got = fread(buffer, 1, 4096, file);
            say_bytes(buffer, got);
            fclose(file);
        }
    }
    VERB("glob") {
        glob_t found;
        int r = glob(text(1), flags_of(raw(2), glob_flags), NULL, &found);
        say("%d", r);
        if (!r) {
            for (size_t i = 0; i < found.gl_pathc; i++)
                say(" %s", found.gl_pathv[i]);
            globfree(&found);
        }
    }
    VERB("nftw") {
        length_walked = 0;
        int r = nftw(text(1), walk, 5, number(2));
        /* How far it came before an error depends on the order of entries, which may differ. */
        if (r < 0)
            result(r);
        else
            say_sorted(walked, length_walked);
    }
    VERB("fts") {
        char *top[] = {text(1), NULL};
        char *lines[4096];
        size_t found = 0;
        FTS *fts = fts_open(top, FTS_PHYSICAL | number(2), NULL);
        if (!fts) {
            result(-1);
            return;
        }
        for (FTSENT *e; (e = fts_read(fts)) && found < 4096;)
            if (e->fts_info != FTS_DP && asprintf(&lines[found], "%s/%d/%d", e->fts_path, e->fts_info, e->fts_level) > 0)
                found++;
        fts_close(fts);
        say_sorted(lines, found);
    }
    VERB("statvfs") {
        struct statvfs v;
        if (statvfs(text(1), &v) < 0) result(-1); else say("%lu %lu %lx", v.f_bsize, v.f_namemax, v.f_flag);
    }
    VERB("pathconf") { errno = 0; result(pathconf(text(1), _PC_NAME_MAX)); }
    VERB("copyrange") result(copy_file_range(at(1), NULL, at(2), NULL, number(3), 0));
    VERB("mkstemp") {
        /* Its name is random, so nothing of it may stay. */
        char *t = text(1);
        n = mkstemp(t);
        if (worked(n) && fstat(n, &s) == 0)
            say(" mode %o size %ld, gone: ", s.st_mode, (long)s.st_size), worked(unlink(t)), close(n);
    }
    VERB("same") {
        /* Whether a descriptor and a name are one file. */
        struct stat other;
        if (fstat(at(1), &s) < 0 || stat(text(2), &other) < 0)
            result(-1);
        else
            say(s.st_dev == other.st_dev && s.st_ino == other.st_ino ? "same" : "different");
    }
    VERB("seteuid") worked(seteuid(number(1)));
    VERB("setegid") worked(setegid(number(1)));
    VERB("setfsuid") say("%d", setfsuid(number(1)));
    VERB("setgroups") { gid_t groups[1] = {number(1)}; worked(setgroups(count > 1, groups)); }
    VERB("setuid") worked(setuid(number(1)));
    VERB("chroot") worked(chroot(text(1)));
    VERB("mount") worked(mount(text(1), text(2), NULL, MS_BIND, NULL));
    VERB("tmpfs") worked(mount("tmpfs", text(1), "tmpfs", 0, "mode=755"));
    VERB("umount") worked(umount2(text(1), MNT_DETACH));
    VERB("nofile") {
        struct rlimit limit = {number(1), number(1)};
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = number(1);
        worked(setrlimit(RLIMIT_NOFILE, &limit));
    }
    VERB("memory") {
        /* Kilobytes of addresses. */
        struct rlimit limit;
        getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = number(1) ? (rlim_t)number(1) << 10 : limit.rlim_max;
        worked(setrlimit(RLIMIT_AS, &limit));
    }
    VERB("fsize") {
        struct rlimit limit;
        getrlimit(RLIMIT_FSIZE, &limit);
        limit.rlim_cur = number(1);
        signal(SIGXFSZ, SIG_IGN);
        worked(setrlimit(RLIMIT_FSIZE, &limit));
    }
    VERB("unshare") worked(unshare(CLONE_FS));
    VERB("run") run(1);
    VERB("exec") go_on_in(!strcmp(raw(1), "self") ? self : text(1));
    VERB("peer") start_peer(number(1));
    VERB("fork") fork_block();
    VERB("thread") {
        pthread_t thread;
        say("in the thread");
        answer();
        if (pthread_create(&thread, NULL, thread_block, NULL)) {
            say("no thread");
            return;
        }
        pthread_join(thread, NULL);
        say("joined");
    }
    VERB("?") say_state();
    VERB("#") say(" ");
    else say("no such verb: %s", verb);
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

static void perform_all(int from) {
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
        /* Steps see only descriptors of their own. */
        int file = argc > 3 ? open(argv[3], O_RDONLY) : dup(0), nothing = open("/dev/null", O_RDWR);
        if (file < 0 || dup2(file, STEPS_IN) < 0 || dup2(1, ANSWERS) < 0) {
            perror(argc > 3 ? argv[3] : "steps");
            return 1;
        }
        dup2(nothing, 0), dup2(nothing, 1), dup2(nothing, 2);
        close(file), close(nothing);
    }
    signal(SIGPIPE, SIG_IGN);
    perform_all(input);
    return 0;
}
