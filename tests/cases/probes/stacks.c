/* Uses files and starts programs on small stacks, in the prefix and beside it. */
#include "probe.h"
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>

extern char **environ;
static const char *dir;
/* A path in the directory, made without a function that takes much of the stack. */
static const char *at(const char *name) {
    static char texts[2][1024];
    static int next;
    char *text = texts[next++ % 2], *to = text;
    for (const char *from = dir; *from; from++)
        *to++ = *from;
    for (*to++ = '/'; (*to = *name); to++, name++)
        ;
    return text;
}
static char *const two[] = {"true", NULL, NULL};

static void op_stat(void) { struct stat s; stat(at("a"), &s); }
static void op_stat_relative(void) { struct stat s; stat("d/b", &s); }
static void op_stat_dots(void) { struct stat s; stat(at("d/../d/./b"), &s); }
static void op_stat_up(void) { struct stat s; stat("../out/nothing/x", &s); }
static void op_stat_link(void) { struct stat s; stat(at("to-d/b"), &s); }
static void op_stat_missing(void) { struct stat s; stat(at("nothing/below/it"), &s); }
static void op_access(void) { access(at("a"), R_OK); }
static void op_read(void) {
    char text[16];
    struct stat s;
    int fd = open(at("a"), O_RDONLY);
    read(fd, text, 10), fstat(fd, &s), close(fd);
}
static void op_read_at(void) {
    struct stat s;
    int top = open(at("d"), O_RDONLY | O_DIRECTORY), fd = openat(top, "b", O_RDONLY);
    fstatat(top, "b", &s, 0), close(fd), close(top);
}
static void op_readlink(void) { char text[300]; readlink(at("to-d"), text, sizeof text), readlink("/proc/self/exe", text, sizeof text); }
static void op_list(void) {
    DIR *list = opendir(at("d"));
    while (list && readdir(list))
        ;
    if (list)
        closedir(list);
}
static void op_chdir(void) { char text[400]; chdir(at("d")), getcwd(text, sizeof text); }
static void op_write(void) { int fd = open(at("a"), O_WRONLY); write(fd, "x", 1), close(fd); }
static void op_write_relative(void) { int fd = open("d/b", O_WRONLY); write(fd, "x", 1), close(fd); }
static void op_create(void) { close(open(at("d/made"), O_WRONLY | O_CREAT, 0644)); }
static void op_unlink(void) { unlink(at("d/b")); }
static void op_chmod(void) { chmod(at("a"), 0600); }
static void op_fchmod(void) { int fd = open(at("a"), O_RDONLY); fchmod(fd, 0600), close(fd); }
static void op_rename(void) { rename(at("a"), at("z")); }
static void op_rename_directory(void) { rename(at("d"), at("e")); }
static void op_mkdir(void) { mkdir(at("made"), 0755); }
static void op_symlink(void) { symlink("a", at("made")); }
static void op_lock(void) {
    struct flock whole = {.l_type = F_RDLCK};
    int fd = open(at("a"), O_RDONLY);
    fcntl(fd, F_SETLK, &whole), close(fd);
}
static void op_spawn(void) { pid_t pid; posix_spawn(&pid, at("bin/tool"), NULL, NULL, two, environ) || waitpid(pid, NULL, 0); }
static void op_spawn_name(void) { pid_t pid; posix_spawnp(&pid, "true", NULL, NULL, two, environ) || waitpid(pid, NULL, 0); }
/* A program that a thread starts would end the others. */
#define CHILD(start) pid_t pid = vfork(); if (pid == 0) start, _exit(1); if (pid > 0) waitpid(pid, NULL, 0)
static void op_exec(void) { CHILD(execv(at("bin/tool"), two)); }
static void op_exec_system(void) { CHILD(execv("/bin/true", two)); }
static void op_exec_name(void) { CHILD(execvp("true", two)); }

/* Operations, and how many bytes libc itself takes of the stack, at most. */
#define OP(name, own) {#name, op_##name, own}
static const struct op { const char *name; void (*run)(void); size_t own; } ops[] = {
    OP(stat, 1100), OP(stat_relative, 1100), OP(stat_dots, 1100), OP(stat_up, 1100), OP(stat_link, 1100), OP(stat_missing, 1100),
    OP(access, 1100), OP(read, 1100), OP(read_at, 1100), OP(readlink, 1400), OP(list, 1200), OP(chdir, 1400), OP(write, 1100),
    OP(write_relative, 1100), OP(create, 1100), OP(unlink, 1100), OP(chmod, 1100), OP(fchmod, 1100), OP(rename, 1100),
    OP(rename_directory, 1100), OP(mkdir, 1100), OP(symlink, 1100), OP(lock, 1100), OP(spawn, 1700), OP(spawn_name, 1700),
    OP(exec, 1100), OP(exec_system, 1100), OP(exec_name, 1700),
};
static const struct op *current;

enum { WHOLE = 1 << 20, PAINT = 0x5a };
/* A stack, and behind it what a child tells: where the stack was painted up to, and how many bytes were used. */
static char *whole;
static size_t *told;

/* The bytes below the painted part's end that were used. */
static size_t bytes_used(void) {
    size_t n = 0;
    while (n < told[0] && whole[n] == PAINT)
        n++;
    return told[0] - n;
}

static __attribute__((noinline)) void measured(void) {
    told[0] = (char *)__builtin_frame_address(0) - 256 - whole;
    for (volatile char *p = whole; p < whole + told[0]; p++)
        *p = PAINT;
    current->run();
    told[1] = bytes_used();
}
static void *paints(void *none) { measured(); return none; }
static void *runs(void *none) { current->run(); return none; }

static void in_thread(void *(*start)(void *), void *stack, size_t size) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (stack ? pthread_attr_setstack(&attributes, stack, size) : pthread_attr_setstacksize(&attributes, size))
        say("no such stack");
    if (!pthread_create(&thread, &attributes, start, NULL))
        pthread_join(thread, NULL);
}

static void handler(int signal) { current->run(); }

static void in_handler(void) {
    static char small[8192];
    stack_t stack = {.ss_sp = small, .ss_size = sizeof small};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

/* Runs each operation in a process of its own, in the prefix and beside it. */
static void each(void (*run)(void)) {
    for (int inside = 0; inside < 2; inside++)
        for (int i = 0; i < (int)(sizeof ops / sizeof *ops); i++) {
            current = &ops[i];
            dir = inside ? E : B("out/tree");
            chdir(dir);
            fflush(stdout);
            pid_t child = fork();
            if (!child) {
                run();
                fflush(stdout);
                _exit(0);
            }
            int status;
            waitpid(child, &status, 0);
            say("%s %s: %s", inside ? "inside" : "outside", current->name, WIFSIGNALED(status) ? "killed" : "done");
        }
}

static void smallest(void) { in_thread(runs, NULL, 16384); }
PROBE(smallest_threads) { each(smallest); }
PROBE(alternate_stacks) { each(in_handler); }

/* Says which operations take more than libc's own bytes and 2 KB beside the prefix, or 6 KB in it. */
PROBE(painted) {
    whole = mmap(NULL, WHOLE + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    told = (size_t *)(whole + WHOLE);
    for (int inside = 0; inside < 2; inside++)
        for (int i = 0; i < (int)(sizeof ops / sizeof *ops); i++) {
            current = &ops[i];
            dir = inside ? E : B("out/tree");
            chdir(dir);
            fflush(stdout);
            pid_t child = fork();
            if (!child) {
                in_thread(paints, whole, WHOLE);
                _exit(0);
            }
            waitpid(child, NULL, 0);
            size_t most = current->own + (inside ? 6144 : 2048), took = told[1];
            if (getenv("SHOW"))
                fprintf(stderr, "%s %s %zu\n", inside ? "inside" : "outside", current->name, took);
            say("%s %s: %s", inside ? "inside" : "outside", current->name, took > most ? "too much" : "fits");
            told[1] = 0;
        }
}
