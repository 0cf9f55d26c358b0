/* writers TREE SECONDS STATE: runs pairs of processes, a writer and a reader. After each change of a path the writer
 * tells the reader through a pipe in which state the path must be now, and the reader checks that it sees this state.
 * Meanwhile two more processes read files that do not change. Then the writers fill the diverged set, which lies in the
 * file STATE, to its limit, and make more changes. At the end new readers check all paths. */
#include "common.h"
#include <sys/mman.h>

enum { PAIRS = 3, NAMES = 2 * FILES, UNCHANGED = 8 };
enum kind { ABSENT, FILE_, LINK, DIRECTORY };

/* The state in which a path must be. A pair renames its directory `sub` to `moved` and back: `moved` says which name
 * the directory has. */
struct fact {
    enum kind kind;
    unsigned mode;
    char name[200], text[80];
    int moved, pair;
};

static char here[200];
static int pair_number, to_reader, from_reader, moved;
static struct fact facts[NAMES];
static unsigned seed;
/* Words that all processes share: sums[1] counts changes, sums[2] counts verified calls, sums[8] is the request to
 * stop. */
static atomic_long *sums;

static void look(const struct fact *f)
{
    struct stat st, truth;
    char buf[256];
    long n;
    int fd;
    errno = 0;
    if (f->kind == ABSENT) {
        CHECK(raw_stat(f->name, &truth) == -ENOENT, "%s", f->name);
        FAILS(lstat(f->name, &st), ENOENT, f->name);
        FAILS(open(f->name, O_RDONLY), ENOENT, f->name);
    } else {
        CHECK(raw_stat(f->name, &truth) == 0, "%s", f->name);
        CHECK(lstat(f->name, &st) == 0, "%s", f->name);
        CHECK(same(&st, &truth), "%s: size %ld and not %ld, mode %o and not %o", f->name, (long)st.st_size, (long)truth.st_size, st.st_mode, truth.st_mode);
        if (f->kind == FILE_) {
            CHECK((st.st_mode & 0777) == f->mode, "%s: mode %o", f->name, st.st_mode);
            CHECK((fd = open(f->name, O_RDONLY)) >= 0, "%s", f->name);
            n = read(fd, buf, sizeof buf);
            CHECK(n == (long)strlen(f->text) && memcmp(buf, f->text, n) == 0, "%s has '%.*s' and not '%s'", f->name, (int)(n > 0 ? n : 0), buf, f->text);
            close(fd);
        } else if (f->kind == LINK) {
            n = readlink(f->name, buf, sizeof buf);
            CHECK(n == (long)strlen(f->text) && memcmp(buf, f->text, n) == 0, "%s", f->name);
        } else {
            CHECK(S_ISDIR(st.st_mode), "%s", f->name);
        }
    }
    /* The directory must list the name only if the path exists. */
    char dir[200];
    snprintf(dir, sizeof dir, "%s", f->name);
    char *slash = strrchr(dir, '/');
    *slash = 0;
    DIR *d = opendir(dir);
    CHECK(d != NULL, "%s", dir);
    int listed = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        listed += strcmp(e->d_name, slash + 1) == 0;
    closedir(d);
    CHECK(listed == (f->kind != ABSENT), "%s is listed %d times", f->name, listed);
    /* After a rename of the directory, the file in it must be found only by the new path. */
    char is[300], is_not[300], text[64];
    snprintf(is, sizeof is, "%s/d%d/%s/below", tree, f->pair, f->moved ? "moved" : "sub");
    snprintf(is_not, sizeof is_not, "%s/d%d/%s/below", tree, f->pair, f->moved ? "sub" : "moved");
    FAILS(stat(is_not, &st), ENOENT, is_not);
    CHECK((fd = open(is, O_RDONLY)) >= 0, "%s", is);
    snprintf(text, sizeof text, "d%d/sub/below\n", f->pair);
    read_back(fd, text);
    close(fd);
}

static void reader(int from, int to)
{
    struct fact f;
    while (read(from, &f, sizeof f) == sizeof f) {
        look(&f);
        CHECK(write(to, "y", 1) == 1, "pipe");
    }
    exit(0);
}

/* Starts a reader as a new program, which maps the stage again. */
static pid_t start_reader(char **argv)
{
    int there[2], back[2];
    CHECK(pipe2(there, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        dup2(there[0], 100);
        dup2(back[1], 101);
        execl("/proc/self/exe", argv[0], argv[1], argv[2], argv[3], "read", NULL);
        _exit(1);
    }
    close(there[0]);
    close(back[1]);
    to_reader = there[1];
    from_reader = back[0];
    return child;
}

static void tell(struct fact *f)
{
    char y;
    f->moved = moved;
    f->pair = pair_number;
    CHECK(write(to_reader, f, sizeof *f) == sizeof *f, "pipe");
    CHECK(read(from_reader, &y, 1) == 1, "the reader of %s is gone", f->name);
}

static void put(struct fact *f, int flags)
{
    int fd = open(f->name, O_WRONLY | O_CREAT | flags, 0640);
    CHECK(fd >= 0, "%s", f->name);
    CHECK(write(fd, f->text, strlen(f->text)) == (ssize_t)strlen(f->text) && close(fd) == 0, "%s", f->name);
}

static void change(long round)
{
    struct fact *f = &facts[next(&seed) % NAMES], *g;
    char more[32], other[256];
    switch (next(&seed) % 12) {
    case 0: case 1: case 2:
        if (f->kind == LINK || f->kind == DIRECTORY)
            CHECK(remove(f->name) == 0, "%s", f->name);
        if (f->kind != FILE_)
            f->mode = 0640;
        snprintf(f->text, sizeof f->text, "round %ld\n", round);
        put(f, O_TRUNC);
        f->kind = FILE_;
        break;
    case 3:
        if (f->kind != FILE_ || strlen(f->text) > 40)
            return;
        snprintf(more, sizeof more, "and %ld\n", round);
        int fd = open(f->name, O_WRONLY | O_APPEND);
        CHECK(fd >= 0 && write(fd, more, strlen(more)) > 0 && close(fd) == 0, "%s", f->name);
        strcat(f->text, more);
        break;
    case 4: case 5:
        if (f->kind == ABSENT) {
            FAILS(unlink(f->name), ENOENT, f->name);
        } else {
            CHECK((f->kind == DIRECTORY ? rmdir(f->name) : unlink(f->name)) == 0, "%s", f->name);
        }
        f->kind = ABSENT;
        break;
    case 6:
        g = &facts[next(&seed) % NAMES];
        if (f == g || f->kind == ABSENT || f->kind == DIRECTORY || g->kind == DIRECTORY)
            return;
        CHECK(rename(f->name, g->name) == 0, "%s to %s", f->name, g->name);
        strcpy(g->text, f->text);
        g->mode = f->mode;
        g->kind = f->kind;
        f->kind = ABSENT;
        tell(g);
        break;
    case 7:
        if (f->kind != ABSENT)
            return;
        CHECK(mkdir(f->name, 0700) == 0, "%s", f->name);
        f->kind = DIRECTORY;
        break;
    case 8:
        if (f->kind != ABSENT)
            return;
        snprintf(f->text, sizeof f->text, "target-%ld", round);
        CHECK(symlink(f->text, f->name) == 0, "%s", f->name);
        f->kind = LINK;
        break;
    case 9:
        if (f->kind != FILE_)
            return;
        f->mode = 0600 + round % 8;
        CHECK(chmod(f->name, f->mode) == 0, "%s", f->name);
        break;
    case 10:
        if (f->kind != FILE_ || strlen(f->text) < 3)
            return;
        CHECK(truncate(f->name, 3) == 0, "%s", f->name);
        f->text[3] = 0;
        break;
    case 11:
        snprintf(more, sizeof more, "d%d/%s", pair_number, moved ? "moved" : "sub");
        snprintf(other, sizeof other, "%s/%s", tree, more);
        char to[256];
        snprintf(to, sizeof to, "%s/d%d/%s", tree, pair_number, moved ? "sub" : "moved");
        CHECK(rename(other, to) == 0, "%s", other);
        moved = !moved;
        break;
    }
    tell(f);
    atomic_fetch_add(&sums[1], 1);
}

/* Returns the word at offset `at` of the state file. */
static unsigned long state(const char *file, size_t at)
{
    static const unsigned char *map;
    if (!map) {
        int fd = open(file, O_RDONLY);
        map = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
        CHECK(fd >= 0 && map != MAP_FAILED, "%s", file);
        close(fd);
    }
    return atomic_load((const _Atomic unsigned long *)(map + at));
}
enum { COUNT = 64, FULL = 192 };
/* Number of files with many names that tests/jobs/stress.sh makes below linked/. */
enum { LINKED = 10 };

static void writer(char **argv, double end)
{
    const char *staged = getenv("STRESS_BARE") ? NULL : argv[3];
    snprintf(here, sizeof here, "%s/d%d", tree, pair_number);
    seed = pair_number;
    for (int i = 0; i < NAMES; i++) {
        struct fact *f = &facts[i];
        snprintf(f->name, sizeof f->name, "%s/%c%d", here, i < FILES ? 'f' : 'n', i % FILES);
        f->kind = i < FILES ? FILE_ : ABSENT;
        f->mode = i < FILES ? known[pair_number][i].st.st_mode & 0777 : 0;
        snprintf(f->text, sizeof f->text, "%s", i < FILES ? known[pair_number][i].text : "");
    }
    start_reader(argv);
    long round = 0;
    do
        change(round++);
    while (round < 50 || now() < end);
    /* A change to a file marks each of its names. The files in linked/ have more names than the diverged set has room
     * for. */
    for (int i = 0; staged && !state(staged, FULL); i++) {
        char name[300];
        CHECK(i < LINKED, "the diverged set is not full after %lu marks", state(staged, COUNT));
        snprintf(name, sizeof name, "%s/linked/%d.0", tree, i);
        CHECK(chmod(name, 0640) == 0, "%s", name);
        for (int more = 0; more < 20; more++)
            change(round++);
    }
    for (int i = 0; i < 200; i++)
        change(round++);
    close(to_reader);
    close(from_reader);
    start_reader(argv);
    for (int i = 0; i < NAMES; i++)
        tell(&facts[i]);
    if (moved) {
        char from[256], to[256];
        snprintf(from, sizeof from, "%s/moved", here);
        snprintf(to, sizeof to, "%s/sub", here);
        CHECK(rename(from, to) == 0, "%s", from);
    }
    close(to_reader);
    while (wait(NULL) > 0)
        ;
    exit(0);
}

int main(int argc, char **argv)
{
    CHECK(argc > 3, "usage");
    umask(022);
    int reads = argc > 4;
    sums = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reads) {
        shim_is_here();
        snprintf(tree, sizeof tree, "%s", argv[1]);
        reader(100, 101);
    }
    begin(argc, argv, 3);
    double end = now() + atof(argv[2]);
    atomic_int *stop = (atomic_int *)&sums[8];
    pid_t children[PAIRS + 2];
    for (int i = 0; i < PAIRS + 2; i++) {
        CHECK((children[i] = fork()) >= 0, "fork");
        if (children[i] != 0)
            continue;
        pair_number = i;
        if (i < PAIRS)
            writer(argv, end);
        seed = i;
        do {
            operate(&seed, next(&seed) % ALL, UNCHANGED);
            usleep(100);
        } while (!*stop);
        atomic_fetch_add(&sums[2], calls);
        exit(0);
    }
    for (int i = 0, status; i < PAIRS + 2; i++) {
        if (i == PAIRS)
            *stop = 1;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0, "process %d: status %x", i, status);
    }
    if (!getenv("STRESS_BARE"))
        printf("%lu marks, the set is %s\n", state(argv[3], COUNT), state(argv[3], FULL) ? "full" : "not full");
    printf("%ld changes, each seen by another process\n", atomic_load(&sums[1]));
    CHECK(sums[1] > 0 && sums[2] > 0, "nothing was done");
    printf("calls %ld answered %d\n", 6 * sums[1] + sums[2], 100);
    return 0;
}
