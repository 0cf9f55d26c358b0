/* Locks of processes that hold descriptors of one file: who keeps whom out, and until when. */
#include "probe.h"
#include <signal.h>
#include <sys/file.h>

/* A way to lock, without waiting. */
struct way {
    const char *name;
    int (*lock)(int fd, int exclusive);
};
static int by_flock(int fd, int exclusive) { return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB); }
static int by_range(int fd, int command, int exclusive) {
    struct flock range = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_start = 1, .l_len = 3};
    return fcntl(fd, command, &range);
}
static int by_record(int fd, int exclusive) { return by_range(fd, F_SETLK, exclusive); }
static int by_description(int fd, int exclusive) { return by_range(fd, F_OFD_SETLK, exclusive); }
static const struct way WAYS[] = {{"flock", by_flock}, {"record", by_record}, {"description", by_description}};
static const struct { const char *name; int flags; } OPENS[] = {{"reads", O_RDONLY}, {"writes", O_RDWR}, {"names", O_PATH}};

/* Runs something in a child, and waits for it. */
#define CHILD(...) do { fflush(stdout); pid_t child_ = fork(); if (!child_) { __VA_ARGS__; fflush(stdout); _exit(0); } waitpid(child_, NULL, 0); } while (0)

/* Whether a child can lock the file by a descriptor of its own. */
static void asked_by_another(const char *path, int flags, const struct way *way, int exclusive) {
    CHILD({
        int fd = open(path, flags), r = way->lock(fd, exclusive);
        say("    %s %d by one that opened it to %s: %s", way->name, exclusive, flags == O_RDWR ? "write" : "read", r ? strerror(errno) : "ok");
    });
}

/* Every lock against every other one, by descriptors that read, write and name. Each has a file of its own. */
PROBE(matrix) {
    int file = 0;
    for (int o = 0; o < 3; o++)
        for (int w = 0; w < 3; w++)
            for (int exclusive = 0; exclusive < 2; exclusive++) {
                char name[64];
                snprintf(name, sizeof name, "full/%d", ++file);
                /* The other one may have opened it before. */
                int first = open(P(name), O_RDONLY), fd = open(P(name), OPENS[o].flags);
                int r = WAYS[w].lock(fd, exclusive);
                say("%s, %s, %d: %s", OPENS[o].name, WAYS[w].name, exclusive, r ? strerror(errno) : "ok");
                for (int other = 0; other < 3; other++)
                    for (int shared = 0; shared < 2; shared++) {
                        asked_by_another(P(name), O_RDONLY, &WAYS[other], !shared);
                        asked_by_another(P(name), O_RDWR, &WAYS[other], !shared);
                    }
                CHILD(say("  by what it inherited: %s", flock(first, LOCK_EX | LOCK_NB) ? strerror(errno) : "ok"));
                struct flock asked = {.l_type = F_WRLCK};
                CHILD(int q = open(P(name), O_RDONLY); CALL(fcntl(q, F_GETLK, &asked));
                      say("  type %d from %d, ours %d", asked.l_type, (int)asked.l_start, asked.l_pid == getppid()));
                close(fd);
                asked_by_another(P(name), O_RDWR, &WAYS[0], 1);
                asked_by_another(P(name), O_RDWR, &WAYS[1], 1);
                close(first);
            }
}

/* A lock of a description is that of its duplicates and of children, and ends with the last of them. */
static void shared(int flags, const struct way *way, int exclusive) {
    const char *path = P(flags == O_RDWR ? "d/b" : "a");
    int fd = open(path, flags), again = dup(fd), third = fcntl(fd, F_DUPFD_CLOEXEC, 30);
    say("%s", way->name);
    CALL(way->lock(again, exclusive));
    CALL(way->lock(fd, exclusive));
    close(fd);
    asked_by_another(path, O_RDWR, way, 1);
    close(again);
    asked_by_another(path, O_RDONLY, way, 0);
    asked_by_another(path, O_RDWR, way, 1);
    CHILD(say("  a child has it: %s", way->lock(third, exclusive) ? strerror(errno) : "ok"));
    asked_by_another(path, O_RDWR, way, 1);
    close(third);
    asked_by_another(path, O_RDWR, way, 1);
    /* A child locks what its parent has opened, and ends. */
    fd = open(path, flags);
    CHILD(CALL(way->lock(fd, exclusive)));
    asked_by_another(path, O_RDWR, way, 1);
    /* One that unlocks it, unlocks it for both. */
    CHILD(if (way->lock == by_flock) flock(fd, LOCK_UN); else { struct flock all = {.l_type = F_UNLCK}; fcntl(fd, F_OFD_SETLK, &all); });
    asked_by_another(path, O_RDWR, way, 1);
    CALL(lseek(fd, 0, SEEK_CUR));
    close(fd);
}
PROBE(descriptions) {
    shared(O_RDONLY, &WAYS[0], 1);
    shared(O_RDONLY, &WAYS[0], 0);
    shared(O_RDONLY, &WAYS[2], 0);
    shared(O_RDWR, &WAYS[0], 1);
    shared(O_RDWR, &WAYS[2], 1);
}

/* Who waits for a lock gets it when the other one lets go, whoever has which descriptor. */
static void waited(int holder, int waiter, int records) {
    int ready[2];
    char byte;
    if (pipe(ready))
        return;
    int fd = open(P("lib/os.py"), holder);
    CALL(records ? by_record(fd, holder == O_RDWR) : by_flock(fd, 1));
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        /* A child has its parent's lock. */
        close(fd);
        int own = open(P("lib/os.py"), waiter);
        struct flock all = {.l_type = waiter == O_RDWR ? F_WRLCK : F_RDLCK};
        if (write(ready[1], "x", 1) < 0)
            _exit(1);
        long r = records ? fcntl(own, F_SETLKW, &all) : flock(own, LOCK_EX);
        say("the waiter has it: %ld", r);
        _exit(0);
    }
    if (read(ready[0], &byte, 1) < 0)
        return;
    usleep(100000);
    CALL(waitpid(child, NULL, WNOHANG));
    close(fd);
    waitpid(child, NULL, 0);
}
PROBE(waiting) {
    for (int records = 0; records < 2; records++) {
        waited(O_RDONLY, O_RDWR, records);
        waited(O_RDWR, O_RDONLY, records);
        waited(O_RDWR, O_RDWR, records);
    }
    waited(O_RDONLY, O_RDONLY, 0);
}

/* A wait that a signal ends fails, and what the file was changed to meanwhile does not matter. */
static void nothing(int number) { (void)number; }
PROBE(interrupted) {
    int fd = open(P("a"), O_RDONLY), writer = open(P("d/b"), O_RDWR);
    flock(fd, LOCK_EX);
    flock(writer, LOCK_EX);
    CHILD({
        struct sigaction action = {.sa_handler = nothing};
        sigaction(SIGALRM, &action, NULL);
        ualarm(50000, 50000);
        CALL(flock(open(P("a"), O_RDWR), LOCK_EX));
        CALL(flock(open(P("a"), O_RDONLY), LOCK_SH));
        CALL(flock(open(P("d/b"), O_RDONLY), LOCK_SH));
    });
}

/* A lock belongs to the file, whatever becomes of its name and of its bytes. */
PROBE(moved) {
    int fd = open(P("a"), O_RDONLY), other = open(P("d/b"), O_RDONLY), third = open(P("lib/os.py"), O_RDONLY);
    CALL(flock(fd, LOCK_EX));
    CALL(rename(P("a"), P("renamed")));
    asked_by_another(P("renamed"), O_RDONLY, &WAYS[0], 1);
    asked_by_another(P("renamed"), O_RDWR, &WAYS[0], 0);
    write_file(P("a"), "another\n");
    asked_by_another(P("a"), O_RDONLY, &WAYS[0], 1);
    CALL(by_description(other, 0));
    write_file(P("d/b"), "longer than it was\n");
    asked_by_another(P("d/b"), O_RDWR, &WAYS[2], 1);
    asked_by_another(P("d/b"), O_RDWR, &WAYS[2], 0);
    CALL(by_flock(third, 0));
    CALL(fchmod(third, 0600));
    asked_by_another(P("lib/os.py"), O_RDWR, &WAYS[0], 1);
    close(third);
    asked_by_another(P("lib/os.py"), O_RDWR, &WAYS[0], 1);
}

/* Locks take no descriptor. */
PROBE(many) {
    for (int i = 0; i < 100; i++) {
        struct flock all = {.l_type = F_RDLCK};
        int fd = open(P("a"), O_RDONLY), other = open(P("a"), O_RDONLY), writer = open(P("d/b"), O_RDWR);
        if (flock(fd, LOCK_SH) || fcntl(fd, F_SETLK, &all) || fcntl(other, F_SETLK, &all) || flock(writer, LOCK_EX))
            say("%s", strerror(errno));
        close(fd), close(other), close(writer);
    }
    CALL(dup(0));
}

/* Who locks a file asks whether its name still leads to it. */
PROBE(same_file) {
    struct stat before, s, t;
    const char *names[] = {"a", "d", "lib/os.py", "full"};
    for (int i = 0; i < 4; i++) {
        int fd = open(P(names[i]), O_RDONLY), other = open(P(names[i]), O_RDONLY);
        CALL(by_flock(fd, 1));
        CALL(fstat(fd, &s));
        CALL(stat(P(names[i]), &t));
        say("%s: one file %d", names[i], same(&s, &t));
        CALL(fstat(other, &t));
        say("  and by another descriptor %d", same(&s, &t));
        CALL(stat(P("same-as-a"), &t));
        say("  and by another name %d", same(&s, &t));
    }
}

/* Who is refused a lock to write keeps the one to read. */
PROBE(refused_conversion) {
    int shared = open(P("a"), O_RDONLY), fd = open(P("a"), O_RDWR);
    CHILD(CALL(by_description(shared, 0)));
    CALL(by_description(fd, 0));
    CALL(by_description(fd, 1));
    close(shared);
    asked_by_another(P("a"), O_RDWR, &WAYS[2], 1);
    CALL(by_description(fd, 1));
    CALL(by_record(open(P("a"), O_RDONLY), 1));
}

/* Forks of a process that has ended share its descriptor, and so its locks. */
PROBE(orphans) {
    int ended[2], done[2];
    char byte;
    if (pipe(ended) || pipe(done))
        return;
    fflush(stdout);
    pid_t opener = fork();
    if (!opener) {
        int fd = open(P("a"), O_RDONLY);
        for (int i = 0; i < 2; i++)
            if (!fork()) {
                close(ended[1]);
                close(done[0]);
                if (read(ended[0], &byte, 1))
                    _exit(1);
                usleep(i * 300000);
                CALL(flock(fd, LOCK_EX | LOCK_NB));
                asked_by_another(P("a"), O_RDWR, &WAYS[0], 1);
                usleep((1 - i) * 600000);
                _exit(0);
            }
        _exit(0);
    }
    close(done[1]);
    waitpid(opener, NULL, 0);
    close(ended[1]);
    CALL(read(done[0], &byte, 1));
    asked_by_another(P("a"), O_RDWR, &WAYS[0], 1);
}
