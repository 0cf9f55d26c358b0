/* Changes the working directory and the root. */
#include "probe.h"

static void where(void) {
    char link[4096];
    long n = readlink("/proc/self/cwd", link, sizeof link);
    say("  %s", getcwd(NULL, 0));
    say("  %.*s", (int)n, link);
    say("  %s", realpath(".", NULL));
}

PROBE(relative_reading) {
    CALL(chdir(P("d")));
    CONTENTS(open("b", O_RDONLY));
    CONTENTS(open("./sub/../b", O_RDONLY));
    CONTENTS(open("../a", O_RDONLY));
    OPEN(open("nope", O_RDONLY));
    CALL(access("sub/c", R_OK));
    struct stat s, t;
    CALL(stat(".", &s));
    CALL(stat(P("d"), &t));
    say("one directory %d", same(&s, &t));
    listing(".");
    CALL(chdir("sub"));
    CONTENTS(open("c", O_RDONLY));
    where();
}

PROBE(relative_writing) {
    CALL(chdir(P("d")));
    write_file("made", "made\n");
    CONTENTS(open("made", O_RDONLY));
    CONTENTS(open(P("d/made"), O_RDONLY));
    CALL(rename("b", "../moved"));
    CONTENTS(open("../moved", O_RDONLY));
    CALL(access("b", F_OK));
    CALL(mkdir("dir", 0755));
    CALL(chdir("dir"));
    where();
    listing("..");
    run("ls", P("d"), NULL);
}

PROBE(by_descriptor) {
    int d = OPEN(open(P("d"), O_RDONLY | O_DIRECTORY));
    where();
    CALL(fchdir(d));
    where();
    CONTENTS(open("b", O_RDONLY));
    write_file("made", "made\n");
    CONTENTS(open(P("d/made"), O_RDONLY));
    CALL(chdir(P("to-d/sub")));
    where();
    CALL(fchdir(open(P("a"), O_RDONLY)));
    int path = OPEN(open(P("full"), O_PATH | O_DIRECTORY));
    CALL(fchdir(path));
    where();
    run("sh", "-c", "pwd; ls", NULL);
}

PROBE(of_a_child) {
    fflush(stdout);
    if (!vfork()) {
        if (chdir(P("d")) == 0)
            execlp("sh", "sh", "-c", "pwd; cat b; cat ../a", NULL);
        _exit(1);
    }
    wait(NULL);
    where();
    CONTENTS(open(P("d/b"), O_RDONLY));
}

/* Changes the root in a child. Paths below the new root are not those of the index. */
PROBE(other_root) {
    char inner[8192], command[20000];
    snprintf(inner, sizeof inner, "%s%s", B("out"), E);
    snprintf(command, sizeof command, "mkdir -p %s && echo inner > %s/a", inner, inner);
    say("%d", system(command));
    fflush(stdout);
    if (!fork()) {
        CALL(chroot(B("out")));
        CONTENTS(open(P("a"), O_RDONLY));
        OPEN(open(P("d/b"), O_RDONLY));
        CALL(access(P("d/b"), F_OK));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    CONTENTS(open(P("a"), O_RDONLY));
}
