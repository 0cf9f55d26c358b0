/* Writes files and changes names, and prints what this process and other processes see immediately afterwards. */
#include "probe.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/time.h>

/* Lets a second process print the content of a file. */
static void others_see(const char *path) {
    fflush(stdout);
    run("cat", path, NULL);
}

PROBE(create) {
    struct stat s;
    OPEN(open(P("new"), O_RDONLY));
    int fd = OPEN(open(P("new"), O_WRONLY | O_CREAT | O_EXCL, 0644));
    CALL(write(fd, "new\n", 4));
    close(fd);
    attributes(P("new"));
    CALL(access(P("new"), R_OK));
    CONTENTS(open(P("new"), O_RDONLY));
    listing(E);
    others_see(P("new"));
    run("ls", E, NULL);
    OPEN(open(P("new"), O_WRONLY | O_CREAT | O_EXCL, 0644));
}

PROBE(append) {
    int before = open(P("a"), O_RDONLY), fd = OPEN(open(P("a"), O_WRONLY | O_APPEND));
    CALL(write(fd, "more\n", 5));
    close(fd);
    CONTENTS(open(P("a"), O_RDONLY));
    CONTENTS(open(P("to-a"), O_RDONLY));
    others_see(P("a"));
    struct stat s;
    CALL(stat(P("a"), &s));
    say("size %d", (int)s.st_size);
    CALL(fstat(before, &s));
    say("size %d", (int)s.st_size);
}

/* Appends to a file by one hard link, and reads it by the other. */
PROBE(append_by_hard_link) {
    int fd = OPEN(open(P("same-as-a"), O_WRONLY | O_APPEND));
    CALL(write(fd, "more\n", 5));
    close(fd);
    CONTENTS(open(P("same-as-a"), O_RDONLY));
    CONTENTS(open(P("a"), O_RDONLY));
}

PROBE(remove_file) {
    struct stat s;
    CALL(unlink(P("full/1")));
    CALL(stat(P("full/1"), &s));
    OPEN(open(P("full/1"), O_RDONLY));
    CALL(access(P("full/1"), F_OK));
    OPEN(open(P("full/link"), O_RDONLY));
    listing(P("full"));
    others_see(P("full/1"));
    run("ls", P("full"), NULL);
    CALL(unlink(P("full/1")));
    write_file(P("full/1"), "again\n");
    CONTENTS(open(P("full/link"), O_RDONLY));
    listing(P("full"));
}

PROBE(rename_file) {
    CALL(rename(P("full/1"), P("full/one")));
    CONTENTS(open(P("full/one"), O_RDONLY));
    OPEN(open(P("full/1"), O_RDONLY));
    others_see(P("full/one"));
    CALL(rename(P("full/2"), B("out/two")));
    CONTENTS(open(B("out/two"), O_RDONLY));
    OPEN(open(P("full/2"), O_RDONLY));
    listing(P("full"));
    CALL(rename(B("out/two"), P("d/back")));
    CONTENTS(open(P("d/back"), O_RDONLY));
    listing(P("d"));
    others_see(P("d/back"));
    /* One rename replaces a file, and one exchanges two files. */
    CALL(rename(P("full/3"), P("d/b")));
    CONTENTS(open(P("d/b"), O_RDONLY));
    CONTENTS(open(P("abs-to-b"), O_RDONLY));
    CALL(renameat2(AT_FDCWD, P("a"), AT_FDCWD, P("lib/os.py"), RENAME_EXCHANGE));
    CONTENTS(open(P("a"), O_RDONLY));
    CONTENTS(open(P("lib/os.py"), O_RDONLY));
    CONTENTS(open(P("lib64/os.py"), O_RDONLY));
    run("ls", P("full"), P("d"), NULL);
}

PROBE(rename_directory) {
    CALL(rename(P("d"), P("moved")));
    CONTENTS(open(P("moved/b"), O_RDONLY));
    CONTENTS(open(P("moved/sub/c"), O_RDONLY));
    OPEN(open(P("d/sub/c"), O_RDONLY));
    CALL(access(P("d"), F_OK));
    CALL(access(P("to-d/b"), F_OK));
    listing(P("moved"));
    listing(P("moved/sub"));
    listing(P("d"));
    others_see(P("moved/sub/c"));
    /* Another directory takes the old name. */
    CALL(rename(P("full"), P("d")));
    listing(P("d"));
    CONTENTS(open(P("d/1"), O_RDONLY));
    OPEN(open(P("d/b"), O_RDONLY));
    CONTENTS(open(P("to-d/2"), O_RDONLY));
    /* The directory leaves the prefix, and comes back under another name. */
    CALL(rename(P("moved"), B("out/moved")));
    CALL(access(P("moved/sub/c"), F_OK));
    CALL(rename(B("out/moved"), P("lib/in")));
    CONTENTS(open(P("lib64/in/sub/c"), O_RDONLY));
    listing(P("lib/in/sub"));
    run("ls", "-R", E, NULL);
}

PROBE(directories) {
    CALL(mkdir(P("made"), 0755));
    listing(P("made"));
    listing(E);
    write_file(P("made/x"), "x\n");
    CONTENTS(open(P("made/x"), O_RDONLY));
    listing(P("made"));
    CALL(rmdir(P("made")));
    CALL(mkdir(P("made/in"), 0755));
    listing(P("made"));
    others_see(P("made/x"));
    CALL(unlink(P("made/x")));
    CALL(rmdir(P("made/in")));
    CALL(rmdir(P("made")));
    listing(P("made"));
    CALL(rmdir(P("empty")));
    listing(E);
    run("ls", E, NULL);
}

/* Changes files through symbolic links, and reads them under their own names. */
PROBE(through_links) {
    write_file(P("abs-to-b"), "changed\n");
    CONTENTS(open(P("d/b"), O_RDONLY));
    CONTENTS(open(P("to-d/b"), O_RDONLY));
    write_file(P("to-d/new"), "new\n");
    CONTENTS(open(P("d/new"), O_RDONLY));
    listing(P("d"));
    CALL(unlink(P("to-a")));
    CONTENTS(open(P("a"), O_RDONLY));
    CALL(symlink("lib", P("to-a")));
    CONTENTS(open(P("to-a/os.py"), O_RDONLY));
    CALL(chmod(P("abs-to-b"), 0600));
    attributes(P("d/b"));
    others_see(P("to-d/new"));
    /* This link outside the prefix leads into the prefix. */
    CALL(symlink(P("d"), B("out/in")));
    write_file(B("out/in/there"), "there\n");
    CONTENTS(open(P("d/there"), O_RDONLY));
    listing(P("d"));
}

/* Reads the files that children have written. */
PROBE(child_and_parent) {
    fflush(stdout);
    if (!fork()) {
        write_file(P("by-child"), "child\n");
        write_file(P("a"), "child\n");
        _exit(0);
    }
    wait(NULL);
    CONTENTS(open(P("by-child"), O_RDONLY));
    CONTENTS(open(P("a"), O_RDONLY));
    run("sh", "-c", "echo shell > $E/by-shell; rm $E/full/2", NULL);
    CONTENTS(open(P("by-shell"), O_RDONLY));
    OPEN(open(P("full/2"), O_RDONLY));
    listing(P("full"));
}

/* Changes files through symbolic links that lie beside the prefix. */
PROBE(through_a_link) {
    CALL(symlink(E, B("door")));
    CALL(symlink(P("d/b"), B("door-to-b")));
    CALL(unlink(B("door/a")));
    OPEN(open(P("a"), O_RDONLY));
    CALL(chmod(B("door-to-b"), 0600));
    attributes(P("d/b"));
    FILE *f = fopen(B("door-to-b"), "w");
    fputs("by the link\n", f);
    fclose(f);
    CONTENTS(open(P("d/b"), O_RDONLY));
    CALL(mkdir(B("door/made"), 0755));
    CALL(rename(B("door/full/1"), B("door/made/one")));
    listing(E);
    listing(P("made"));
    listing(P("full"));
    CALL(truncate(B("door/made/one"), 0));
    attributes(P("made/one"));
    others_see(P("d/b"));
    CALL(chdir(B("door")));
    CALL(rmdir("empty"));
    CALL(access(P("empty"), F_OK));
}

/* Looks below directories without search permission, where only root sees files. */
PROBE(not_searched) {
    struct stat s;
    CALL(chmod(P("d"), 0600));
    CALL(stat(P("d/b"), &s));
    OPEN(open(P("d/b"), O_RDONLY));
    int fd = OPEN(open(P("full"), O_RDONLY));
    CALL(fchmod(fd, 0));
    CALL(access(P("full/1"), F_OK));
    CALL(fchmodat(AT_FDCWD, P("d"), 0700, 0));
    OPEN(open(P("d/b"), O_RDONLY));
    CALL(chmod(P("full"), 0700));
}

/* Uses relative names that the kernel accepts, although the absolute paths of these files are too long. */
PROBE(long_names) {
    char name[PATH_MAX];
    int n = 0;
    struct stat s;
    while (n < PATH_MAX - 10)
        n += sprintf(name + n, "./");
    CALL(chdir(P("d")));
    strcpy(name + n, "b");
    CALL(stat(name, &s));
    CALL(unlink(name));
    CALL(stat("b", &s));
    strcpy(name + n, "new");
    CALL(mkdir(name, 0755));
    CALL(stat("new", &s));
    listing(".");
}

/* Writes, changes and removes files by hard links outside the prefix. */
PROBE(by_hard_link_outside) {
    struct stat s;
    int fd = OPEN(open(B("out/linked"), O_WRONLY | O_APPEND));
    CALL(write(fd, "more\n", 5));
    close(fd);
    CONTENTS(open(P("d/b"), O_RDONLY));
    others_see(P("d/b"));
    CALL(chmod(B("out/linked2"), 0600));
    CALL(stat(P("d/sub/c"), &s));
    say("mode %o, names %d", s.st_mode & 07777, (int)s.st_nlink);
    CALL(unlink(B("out/linked2")));
    CALL(stat(P("d/sub/c"), &s));
    say("names %d", (int)s.st_nlink);
    CALL(link(P("full/1"), B("out/new-link")));
    fd = OPEN(open(B("out/new-link"), O_WRONLY | O_TRUNC));
    close(fd);
    CALL(stat(P("full/1"), &s));
    say("size %d, names %d", (int)s.st_size, (int)s.st_nlink);
    FILE *file = fopen(B("out/linked"), "w");
    fclose(file);
    CONTENTS(open(P("d/b"), O_RDONLY));
}

/* Changes files through another mount of the same file system, if this user may mount. */
PROBE(by_another_mount) {
    CALL(access(P("d/b"), F_OK));
    CALL(mkdir(B("out/second"), 0755));
    CALL(mount(E, B("out/second"), NULL, MS_BIND, NULL));
    int fd = OPEN(open(B("out/second/a"), O_WRONLY | O_TRUNC));
    if (fd < 0)
        return;
    CALL(write(fd, "new\n", 4));
    close(fd);
    CONTENTS(open(P("a"), O_RDONLY));
    fd = OPEN(open(B("out/second/made"), O_WRONLY | O_CREAT, 0644));
    close(fd);
    CALL(access(P("made"), F_OK));
    CALL(mkdir(B("out/second/made-directory"), 0755));
    CALL(access(P("made-directory"), F_OK));
    listing(E);
    CALL(unlink(B("out/second/full/1")));
    CALL(access(P("full/1"), F_OK));
    CALL(rename(B("out/second/full"), B("out/second/fuller")));
    CALL(access(P("full/2"), F_OK));
    CALL(access(P("fuller/2"), F_OK));
    listing(E);
    run("ls", E, NULL);
    CALL(umount(B("out/second")));
}

/* Renames the directory above the prefix, makes it again, and looks at names of the prefix. */
PROBE(above) {
    CONTENTS(open(P("a"), O_RDONLY));
    CALL(rename(B("top"), B("old-top")));
    OPEN(open(P("a"), O_RDONLY));
    CALL(access(E, F_OK));
    CONTENTS(open(B("old-top/env/a"), O_RDONLY));
    run("ls", E, NULL);
    CALL(mkdir(B("top"), 0755));
    CALL(mkdir(E, 0755));
    int fd = OPEN(open(P("a"), O_WRONLY | O_CREAT, 0644));
    CALL(write(fd, "other\n", 6));
    close(fd);
    CONTENTS(open(P("a"), O_RDONLY));
    listing(E);
    others_see(P("a"));
}

/* The prefix is a symbolic link. Replaces it by a link to another directory, and looks at names of the prefix. */
PROBE(retargeted) {
    CONTENTS(open(P("a"), O_RDONLY));
    CALL(mkdir(B("out/other"), 0755));
    int fd = OPEN(open(B("out/other/a"), O_WRONLY | O_CREAT, 0644));
    CALL(write(fd, "other\n", 6));
    close(fd);
    CALL(symlink(B("out/other"), B("out/next")));
    CALL(rename(B("out/next"), E));
    CONTENTS(open(P("a"), O_RDONLY));
    CALL(access(P("d/b"), F_OK));
    listing(E);
    others_see(P("a"));
}

/* Opens a hundred files beside the prefix by absolute names, and a hundred by relative names. */
PROBE(opened_beside) {
    for (int relative = 0; relative < 2; relative++) {
        int made = 0, again = 0;
        for (int i = 0; i < 100; i++) {
            char name[40];
            snprintf(name, sizeof name, relative ? "r%d" : "out/o%d", i);
            const char *path = relative ? name : B(name);
            int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
            made += fd >= 0;
            close(fd);
            fd = open(path, O_RDWR);
            again += fd >= 0;
            close(fd);
        }
        say("made %d, opened again %d", made, again);
        CALL(chdir(B("out")));
    }
    struct stat s;
    CALL(stat(P("a"), &s));
}

PROBE(changed_beside) {
    int good = 0;
    for (int i = 0; i < 100; i++) {
        char name[40];
        snprintf(name, sizeof name, "out/o%d", i);
        good += mkdir(B(name), 0755) == 0;
        good += chmod(B(name), 0700) == 0;
        good += rmdir(B(name)) == 0;
    }
    say("%d", good);
    CALL(chdir(B("out")));
    for (int i = 0; i < 100; i++) {
        char name[40];
        snprintf(name, sizeof name, "o%d", i);
        good += symlink("to", name) == 0;
        good += unlink(name) == 0;
    }
    say("%d", good);
    struct stat s;
    CALL(stat(P("a"), &s));
}

/* Makes opens and other calls that are refused, and reads staged files afterwards. */
PROBE(refused_opens) {
    int refused = 0;
    for (int i = 0; i < 200; i++) {
        char name[40];
        snprintf(name, sizeof name, "d/new%d", i);
        refused += open(P(name), O_WRONLY | O_CREAT | O_EXCL, 0644) < 0;
    }
    say("%d", refused);
    OPEN(open(P("a"), O_RDWR));
    OPEN(open(P("d/b"), O_WRONLY | O_TRUNC));
    CALL(unlink(P("full/1")));
    CALL(chmod(P("a"), 0600));
    CALL(fchmodat(AT_FDCWD, P("a"), 0600, 0));
    CALL(fchmodat(AT_FDCWD, P("d/new1"), 0600, 0));
    CALL(rename(P("full"), P("fuller")));
    /* rmdir -p and os.removedirs go on with the directories above until one is not empty. */
    CALL(rmdir(getenv("M")));
    for (int i = 0; i < 50; i++) {
        struct stat s;
        stat(P("a"), &s);
        stat(P("d/b"), &s);
        stat(P("d/new1"), &s);
        close(open(P("full/1"), O_RDONLY));
    }
    CONTENTS(open(P("a"), O_RDONLY));
    others_see(P("d/b"));
}

/* Makes many new files in one directory. */
PROBE(many_new_names) {
    int made = 0, found = 0;
    for (int i = 0; i < 500; i++) {
        char name[40];
        snprintf(name, sizeof name, "d/new%d", i);
        int fd = open(P(name), O_WRONLY | O_CREAT | O_EXCL, 0644);
        made += fd >= 0;
        close(fd);
        found += access(P(name), F_OK) == 0;
    }
    say("%d %d", made, found);
    run("ls", P("d"), NULL);
}

/* Mounts over a directory of the prefix and over the prefix, if this user may mount. */
PROBE(mounted_over) {
    CALL(access(P("d/b"), F_OK));
    if (CALL(mount("none", P("d"), "tmpfs", 0, "mode=755")) != 0)
        return;
    CALL(access(P("d/b"), F_OK));
    listing(P("d"));
    run("ls", P("d"), NULL);
    int fd = OPEN(open(P("d/new"), O_WRONLY | O_CREAT, 0644));
    close(fd);
    CALL(access(P("d/new"), F_OK));
    CALL(umount(P("d")));
    CALL(access(P("d/new"), F_OK));
    CALL(access(P("d/b"), F_OK));
    CALL(mount("none", E, "tmpfs", 0, NULL));
    CALL(access(P("a"), F_OK));
    CALL(umount2(E, MNT_DETACH));
    CALL(access(P("a"), F_OK));
}

/* Unmounts the prefix, which is a mount point, in a mount namespace of this process, and looks at a name of the prefix. */
static void unmounted_by(int flags) {
    CALL(access(P("env/a"), F_OK));
    if (CALL(unshare(CLONE_NEWNS)) != 0)
        return;
    CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    CALL(chdir("/"));
    /* Another mount may lie below. */
    while ((flags ? umount2(E, flags) : umount(E)) == 0)
        say("unmounted");
    CALL(access(P("env/a"), F_OK));
}

PROBE(unmounted) {
    unmounted_by(0);
}

PROBE(detached) {
    unmounted_by(MNT_DETACH);
}
