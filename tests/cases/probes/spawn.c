/* Calls posix_spawn, system and popen. */
#include "probe.h"
#include <signal.h>
#include <spawn.h>

extern char **environ;

static char *const three[] = {"another name", "1", "a b", "", NULL};
static char *const own_environment[] = {"X=1", NULL};

static void ended(const char *call, int error, pid_t pid) {
    int status = 0;
    if (error)
        say("%s: %s", call, strerror(error));
    else
        waitpid(pid, &status, 0), say("%s ends with %x", call, status);
}
#define SPAWN(call) ({ pid_t pid; fflush(stdout); int error_ = call; ended(#call, error_, pid); })

static void by_path(void) {
    char path[20000];
    snprintf(path, sizeof path, "%s/nope:%s/full:%s/bin:/usr/bin:/bin", E, E, E);
    setenv("PATH", path, 1);
}

PROBE(functions) {
    by_path();
    SPAWN(posix_spawn(&pid, P("bin/show"), NULL, NULL, three, environ));
    SPAWN(posix_spawn(&pid, P("bin/show"), NULL, NULL, three, own_environment));
    SPAWN(posix_spawn(&pid, P("bin/script"), NULL, NULL, three, own_environment));
    SPAWN(posix_spawnp(&pid, "show", NULL, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "script", NULL, NULL, three, own_environment));
    SPAWN(posix_spawnp(&pid, P("bin/show"), NULL, NULL, three, environ));
    char *const again[] = {"argv0", "again", NULL};
    SPAWN(posix_spawn(&pid, P("bin/show"), NULL, NULL, again, (char *[]){NULL}));
    SPAWN(posix_spawn(&pid, P("bin/show"), NULL, NULL, again, NULL));
}

PROBE(relative) {
    CALL(chdir(P("bin")));
    setenv("PATH", "/nope::/usr/bin", 1);
    posix_spawn_file_actions_t none;
    posix_spawn_file_actions_init(&none);
    SPAWN(posix_spawn(&pid, "show", NULL, NULL, three, environ));
    SPAWN(posix_spawn(&pid, "./script", &none, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "show", NULL, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "../bin/show", &none, NULL, three, environ));
}

PROBE(attributes) {
    posix_spawnattr_t attributes;
    sigset_t set;
    posix_spawnattr_init(&attributes);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    posix_spawnattr_setsigmask(&attributes, &set);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    signal(SIGUSR2, SIG_IGN);
    SPAWN(posix_spawn(&pid, P("bin/show"), NULL, NULL, three, environ));
    SPAWN(posix_spawn(&pid, P("bin/show"), NULL, &attributes, three, environ));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_USEVFORK);
    SPAWN(posix_spawnp(&pid, P("bin/show"), NULL, &attributes, three, environ));
}

PROBE(file_actions) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    CALL(posix_spawn_file_actions_addopen(&actions, 0, P("d/b"), O_RDONLY, 0));
    CALL(posix_spawn_file_actions_addopen(&actions, 7, P("abs-to-b"), O_RDONLY, 0));
    CALL(posix_spawn_file_actions_adddup2(&actions, 1, 9));
    CALL(posix_spawn_file_actions_addclose(&actions, 2));
    char *const words[] = {"sh", "-c", "cat; cat <&7; echo through nine >&9", NULL};
    SPAWN(posix_spawn(&pid, "/bin/sh", &actions, NULL, words, environ));
    SPAWN(posix_spawn(&pid, P("bin/show"), &actions, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "sh", &actions, NULL, words, environ));
}

/* Opens files for a child. The child prints the names of these files. */
PROBE(names_of_files_opened_for_a_child) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 7, P("abs-to-b"), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 8, P("d"), O_RDONLY | O_DIRECTORY, 0);
    char *const words[] = {"sh", "-c", "readlink /proc/self/fd/7; readlink /proc/self/fd/8; test /dev/fd/7 -ef $E/d/b && echo same", NULL};
    SPAWN(posix_spawn(&pid, "/bin/sh", &actions, NULL, words, environ));
}

PROBE(file_actions_on_the_shared_file_system) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, P("made"), O_WRONLY | O_CREAT, 0644);
    SPAWN(posix_spawn(&pid, "/bin/sh", &actions, NULL, (char *const[]){"sh", "-c", "echo made", NULL}, environ));
    CONTENTS(open(P("made"), O_RDONLY));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, P("a"), O_WRONLY | O_APPEND, 0);
    SPAWN(posix_spawn(&pid, "/bin/sh", &actions, NULL, (char *const[]){"sh", "-c", "echo appended", NULL}, environ));
    CONTENTS(open(P("a"), O_RDONLY));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, P("nope"), O_RDONLY, 0);
    SPAWN(posix_spawn(&pid, P("bin/show"), &actions, NULL, three, environ));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, P("bin"));
    SPAWN(posix_spawn(&pid, "./show", &actions, NULL, three, environ));
    SPAWN(posix_spawn(&pid, "./script", &actions, NULL, three, environ));
}

PROBE(failures) {
    by_path();
    static const char *const names[] = {"nope", "a", "bin", "a/x", "loop1", "bin/no-mode", "bin/empty", "bin/text", "bin/no-interp", "bin/text-interp", NULL};
    for (const char *const *name = names; *name; name++) {
        say("%s", *name);
        SPAWN(posix_spawn(&pid, P(*name), NULL, NULL, three, environ));
        SPAWN(posix_spawnp(&pid, P(*name), NULL, NULL, three, environ));
    }
    SPAWN(posix_spawnp(&pid, "no-such-command", NULL, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "no-mode", NULL, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "text", NULL, NULL, three, environ));
    SPAWN(posix_spawnp(&pid, "", NULL, NULL, three, environ));
    SPAWN(posix_spawn(&pid, "", NULL, NULL, three, environ));
}

static void run_shell(const char *command) {
    fflush(stdout);
    int status = system(command);
    say("%s: %x", command, status);
}

PROBE(system) {
    CALL(system(NULL) != 0);
    run_shell("cat $E/a $E/d/b; exit 3");
    run_shell("$E/bin/show in a shell");
    run_shell("cd $E/d && cat b && ls .. | wc -l");
    run_shell("cat $E/nope 2>&1");
    run_shell("kill -TERM $$");
    signal(SIGINT, SIG_IGN);
    run_shell("kill -INT $$; echo not ended");
    signal(SIGINT, SIG_DFL);
    run_shell("kill -INT $$; echo ended");
    say("%d", signal(SIGINT, SIG_DFL) == SIG_DFL);
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    CALL(sigismember(&mask, SIGCHLD));
}

PROBE(popen) {
    char line[4096];
    FILE *file = POINTER(popen("cat $E/a; readlink -f $E/to-d; $E/bin/show; exit 4", "r"));
    while (fgets(line, sizeof line, file))
        printf("  %s", line);
    CALL(pclose(file));
    file = POINTER(popen("cat - $E/d/b", "w"));
    fputs("given\n", file);
    CALL(pclose(file));
    file = POINTER(popen("cat $E/a", "re"));
    CALL(fcntl(fileno(file), F_GETFD));
    FILE *other = POINTER(popen("cat $E/d/b", "r"));
    CALL(fcntl(fileno(other), F_GETFD));
    printf("  %s", fgets(line, sizeof line, other));
    printf("  %s", fgets(line, sizeof line, file));
    CALL(pclose(file));
    CALL(pclose(other));
    POINTER(popen("true", "x"));
    POINTER(popen("true", ""));
    file = POINTER(popen("exec $E/nope 2>/dev/null", "r"));
    CALL(pclose(file));
}

/* Starts a shell that writes files, and reads these files. */
PROBE(shells_write) {
    run_shell("echo appended >> $E/a; mv $E/d/b $E/d/moved");
    CONTENTS(open(P("a"), O_RDONLY));
    OPEN(open(P("d/b"), O_RDONLY));
    FILE *file = popen("cat > $E/new", "w");
    fputs("written\n", file);
    CALL(pclose(file));
    CONTENTS(open(P("new"), O_RDONLY));
    listing(P("d"));
}
