/*
 * Passes steps to children, threads, peers and other programs. Each of these sends its own answers.
 */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int input = STEPS_IN;

struct peer peers[PEERS + 1];

void answer(void) {
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

/* Runs a program, and adds its output to the answer. */
void run(int first) {
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

/* Reads one line byte by byte, so that another process which shares the descriptor can read the next line. */
int next_line(int from, char *line, size_t room) {
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

static void say_status(int status) {
    if (WIFSIGNALED(status))
        say("the child died of %s", sigabbrev_np(WTERMSIG(status)));
    else
        say("the child ended with %d", WEXITSTATUS(status));
}

int inside;

void fork_block(void) {
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

/* Performs a block in a child that executes a static program, into which nothing is preloaded. */
void static_block(void) {
    char program[PATH_MAX + 8];
    snprintf(program, sizeof program, "%s-static", self);
    pid_t child = fork();
    if (child == 0) {
        inside = 1;
        go_on_in(NULL, program);
        answer();
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        result(-1);
        return;
    }
    say_status(status);
}

void *thread_block(void *nothing) {
    inside++;
    perform_all(input);
    inside--;
    return nothing;
}

void start_peer(int n) {
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

/* Passes a step to a peer, which sends the answer. */
void pass_to_peer(int n, const char *line) {
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

/* Executes `program`, which goes on with the next step. If `before` is not null, executes `before` with `program` as its
 * argument. */
void go_on_in(const char *before, const char *program) {
    char state[SLOTS * 8 + 32], at_input[16], *p = state;
    for (int i = 0; i < SLOTS; i++)
        p += sprintf(p, "%d,", slots[i]);
    sprintf(at_input, "%d", input);
    char now[64];
    snprintf(now, sizeof now, "%ld.%09ld", (long)start.tv_sec, start.tv_nsec);
    char peer_state[128];
    snprintf(peer_state, sizeof peer_state, "%d,%d,%d,%d", inside, peers[1].pid, peers[2].pid, peers[3].pid);
    char *arguments[] = {(char *)before, (char *)program, root, now, "--", at_input, state, peer_state, self, NULL};
    execv(before ? before : program, before ? arguments : arguments + 1);
    result(-1);
}

/* Answers the driver's question about the state of this process: its descriptors, working directory and user. */
void say_state(void) {
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
        if (is_mapped(i))
            say("\tm%d", i);
}
