/* starts DIRECTORY NAME: starts the program DIRECTORY/NAME once by each function that starts programs, and passes the
 * function's name as the argument. DIRECTORY must be in PATH. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char path[4096], command[8192];
static const char *name;

#define IN_CHILD(function, ...) \
    do { \
        char *argv[] = {(char *)name, function, NULL}; \
        fflush(stdout); \
        pid_t pid = fork(); \
        if (pid == 0) { __VA_ARGS__; perror(function); _exit(1); } \
        waitpid(pid, NULL, 0); \
    } while (0)

#define SPAWN(function, file) \
    do { \
        char *argv[] = {(char *)name, #function, NULL}; \
        pid_t pid; \
        if (function(&pid, file, NULL, NULL, argv, environ) == 0) waitpid(pid, NULL, 0); else puts(#function " failed"); \
    } while (0)

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    name = argv[2];
    snprintf(path, sizeof path, "%s/%s", argv[1], name);
    setvbuf(stdout, NULL, _IONBF, 0);
    IN_CHILD("execve", execve(path, argv, environ));
    IN_CHILD("execv", execv(path, argv));
    IN_CHILD("execvp", execvp(name, argv));
    IN_CHILD("execvpe", execvpe(name, argv, environ));
    IN_CHILD("execl", execl(path, name, "execl", NULL));
    IN_CHILD("execlp", execlp(name, name, "execlp", NULL));
    IN_CHILD("execle", execle(path, name, "execle", NULL, environ));
    IN_CHILD("execveat", syscall(SYS_execveat, AT_FDCWD, path, argv, environ, 0));
    IN_CHILD("syscall", syscall(SYS_execve, path, argv, environ));
    SPAWN(posix_spawn, path);
    SPAWN(posix_spawnp, name);
    snprintf(command, sizeof command, "%s system", name);
    if (system(command)) return 1;
    snprintf(command, sizeof command, "%s popen", path);
    FILE *out = popen(command, "r");
    for (int c; (c = getc(out)) != EOF;) putchar(c);
    return pclose(out);
}
