/* Calls every function of the exec family. */
#include "probe.h"

extern char **environ;

/* Runs an exec in a child, and prints the child's status. If the exec fails, the child prints the error. */
#define IN_CHILD(call)                                                                                                 \
    do {                                                                                                               \
        say("%s", #call);                                                                                              \
        pid_t child_ = fork();                                                                                         \
        if (!child_) {                                                                                                 \
            call;                                                                                                      \
            say("  fails: %s", strerror(errno));                                                                       \
            _exit(99);                                                                                                 \
        }                                                                                                              \
        int status_ = 0;                                                                                               \
        waitpid(child_, &status_, 0);                                                                                  \
        say("  ends with %x", status_);                                                                                \
    } while (0)

static char *const three[] = {"another name", "1", "a b", "", NULL};
static char *own_environment[] = {"X=1", NULL, NULL};

static void by_path(void) {
    char path[20000];
    snprintf(path, sizeof path, "%s/nope:%s/full:%s/bin:/usr/bin:/bin", E, E, E);
    setenv("PATH", path, 1);
}

PROBE(functions) {
    by_path();
    IN_CHILD(execve(P("bin/show"), three, environ));
    IN_CHILD(execve(P("bin/show"), three, own_environment));
    IN_CHILD(execv(P("bin/show"), three));
    IN_CHILD(execvp("show", three));
    IN_CHILD(execvp(P("bin/show"), three));
    IN_CHILD(execvpe("show", three, own_environment));
    IN_CHILD(execl(P("bin/show"), "argv0", NULL));
    IN_CHILD(execl(P("bin/show"), "argv0", "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL));
    IN_CHILD(execlp("show", "argv0", "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL));
    IN_CHILD(execle(P("bin/show"), "argv0", "1", NULL, own_environment));
    IN_CHILD(execle(P("bin/show"), "argv0", "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL, own_environment));
    IN_CHILD(execve(P("bin/to-show"), three, environ));
    IN_CHILD(execve(P("bin/../bin/./show"), three, environ));
    IN_CHILD(execv(P("bin/show"), (char *const[]){NULL}));
}

PROBE(relative) {
    CALL(chdir(P("bin")));
    setenv("PATH", "/nope::/usr/bin", 1);
    IN_CHILD(execve("show", three, environ));
    IN_CHILD(execve("./show", three, environ));
    IN_CHILD(execve("../bin/show", three, environ));
    IN_CHILD(execvp("show", three));
    IN_CHILD(execlp("./script", "argv0", "1", NULL));
    unsetenv("PATH");
    IN_CHILD(execvp("sh", (char *const[]){"sh", "-c", "echo by the default PATH", NULL}));
}

PROBE(by_descriptor) {
    IN_CHILD(fexecve(open(P("bin/show"), O_RDONLY), three, environ));
    IN_CHILD(fexecve(open(P("bin/show"), O_RDONLY | O_CLOEXEC), three, own_environment));
    IN_CHILD(fexecve(dup(open(P("bin/show"), O_RDONLY)), three, environ));
    IN_CHILD(fexecve(open(P("a"), O_RDONLY), three, environ));
    IN_CHILD(fexecve(open(P("bin"), O_RDONLY), three, environ));
    IN_CHILD(fexecve(-1, three, environ));
    IN_CHILD(execveat(AT_FDCWD, P("bin/show"), three, environ, 0));
    IN_CHILD(execveat(-1, P("bin/show"), three, environ, 0));
    IN_CHILD(execveat(open(P("bin"), O_RDONLY), "show", three, own_environment, 0));
    IN_CHILD(execveat(open(P("bin"), O_PATH), "../bin/show", three, environ, 0));
    IN_CHILD(execveat(open(P("bin"), O_RDONLY), "nope", three, environ, 0));
    IN_CHILD(execveat(open(P("bin/show"), O_RDONLY), "", three, environ, AT_EMPTY_PATH));
    IN_CHILD(execveat(open(P("bin/show"), O_RDONLY), "", three, environ, 0));
}

/* Starts a program by an O_PATH descriptor, which leads to the original file. */
PROBE(by_path_descriptor) {
    IN_CHILD(fexecve(open(P("bin/show"), O_PATH | O_CLOEXEC), three, own_environment));
    IN_CHILD(execveat(open(P("bin/show"), O_PATH), "", three, own_environment, AT_EMPTY_PATH));
}

/* Starts scripts by descriptors. The kernel gives the interpreter the name of the descriptor. If the exec closes the
   descriptor, this name no longer exists. */
PROBE(scripts_by_descriptor) {
    int fd = dup2(open(P("bin/script"), O_RDONLY), 40);
    IN_CHILD(fexecve(fd, three, environ));
    IN_CHILD(execveat(fd, "", three, environ, AT_EMPTY_PATH));
    CALL(fcntl(fd, F_SETFD, FD_CLOEXEC));
    IN_CHILD(fexecve(fd, three, environ));
    int directory = dup2(open(P("bin"), O_RDONLY), 41);
    IN_CHILD(execveat(directory, "script", three, environ, 0));
}

static const char *const wrong[] = {
    "nope",        "nope/show",  "a",       "bin",        "a/x",        "bin/show/",     "dangling", "loop1",
    "bin/no-mode", "bin/empty",  "bin/text", "bin/garbage", "bin/no-interp", "bin/text-interp", "bin/dir-interp", "bin/blank",
    "bin/staged-interp", "bin/long", "bin/crlf", NULL,
};

PROBE(failures) {
    by_path();
    for (const char *const *name = wrong; *name; name++) {
        say("%s", *name);
        IN_CHILD(execve(P(*name), three, environ));
        IN_CHILD(execv(P(*name), three));
        IN_CHILD(execl(P(*name), "argv0", "1", NULL));
    }
    IN_CHILD(execve("", three, environ));
    IN_CHILD(execvp("", three));
    IN_CHILD(execvp("no-such-command", three));
    IN_CHILD(execvp("no-mode", three));
    IN_CHILD(execlp("no-mode", "argv0", NULL));
    setenv("PATH", P("bin/show"), 1);
    IN_CHILD(execvp("show", three));
    setenv("PATH", "", 1);
    IN_CHILD(execvp("show", three));
}

/* Starts files that are not programs. Only the functions below let the shell run such a file. */
PROBE(shell_fallback) {
    by_path();
    IN_CHILD(execvp(P("bin/text"), three));
    IN_CHILD(execvp("text", three));
    IN_CHILD(execlp("text", "argv0", "1", "2", "3", "4", "5", "6", "7", NULL));
    IN_CHILD(execvpe("text", three, own_environment));
    IN_CHILD(execvp("empty", three));
    IN_CHILD(execvp("blank", three));
    IN_CHILD(execvp("a", three));
}

PROBE(scripts) {
    by_path();
    static const char *const names[] = {"script", "arguments", "nested", "to-script", "no-newline", "by-env", "outer-link", NULL};
    for (const char *const *name = names; *name; name++) {
        char path[8192];
        snprintf(path, sizeof path, "%s/bin/%s", E, *name);
        say("%s", *name);
        IN_CHILD(execv(path, three));
        IN_CHILD(execvp(*name, three));
        IN_CHILD(execle(path, "argv0", "1", NULL, own_environment));
    }
    IN_CHILD(execv(B("out/script"), three));
}

/* Starts a chain of scripts, each of which is the interpreter of the next one. The kernel follows only a few
   interpreters. */
PROBE(levels) {
    for (int i = 0; i < 9; i++) {
        char name[16];
        snprintf(name, sizeof name, "bin/level%d", i);
        say("%d", i);
        IN_CHILD(execv(P(name), three));
    }
    IN_CHILD(execv(P("bin/itself"), three));
}

PROBE(emptied_environment) {
    char *const again[] = {"argv0", "again", NULL};
    char *none[] = {NULL};
    IN_CHILD(execve(P("bin/show"), again, none));
    IN_CHILD(execve(P("bin/show"), again, NULL));
    IN_CHILD(execve(P("bin/script"), again, none));
    IN_CHILD(execle(P("bin/show"), "argv0", "again", NULL, none));
    IN_CHILD(execvpe(P("bin/show"), again, none));
    IN_CHILD(fexecve(open(P("bin/show"), O_RDONLY), again, none));
    clearenv();
    IN_CHILD(execv(P("bin/show"), again));
    IN_CHILD(execvp(P("bin/show"), again));
    IN_CHILD(execl("/usr/bin/env", "env", "-i", P("bin/show"), "again", NULL));
}

static int descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

PROBE(vfork_child) {
    static const char *const names[] = {"nope", "a", "bin", "bin/no-interp", "bin/empty", "loop1", NULL};
    int before = descriptors();
    char *shell = getenv("PATH");
    for (const char *const *name = names; *name; name++) {
        const char *path = P(*name);
        volatile int error = 0;
        errno = 77;
        pid_t child = vfork();
        if (!child) {
            execv(path, three);
            error = errno;
            execve(path, three, own_environment);
            _exit(7);
        }
        int after = errno, status;
        waitpid(child, &status, 0);
        say("%s: %s; errno of the parent %s, ends with %x", *name, strerror(error), strerror(after), status);
    }
    say("the same descriptors %d, the same environment %d", descriptors() == before, getenv("PATH") == shell);
    CONTENTS(open(P("a"), O_RDONLY));
    fflush(stdout);
    pid_t child = vfork();
    if (!child) {
        execve(P("bin/show"), three, own_environment);
        _exit(7);
    }
    int status;
    waitpid(child, &status, 0);
    say("ends with %x", status);
    errno = 0;
    CALL(access(P("nope"), F_OK));
}
