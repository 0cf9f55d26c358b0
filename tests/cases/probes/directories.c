/* Reads directory streams, and calls the libc functions that use directory streams. */
#include "probe.h"
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <wordexp.h>

/* Prints the name and type of an entry, and whether the entry's inode number is that of lstat. */
static void entry_of(const char *directory, const struct dirent *entry) {
    struct stat s;
    int known = lstat(name_in(directory, entry->d_name), &s) == 0;
    say("  %s type %d inode %d", entry->d_name, entry->d_type, known && s.st_ino == entry->d_ino);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(struct dirent *const *)a)->d_name, (*(struct dirent *const *)b)->d_name);
}

/* Prints a list of entries, sorted. */
static void entries(const char *directory, struct dirent **list, int n) {
    if (n < 0) {
        say("  %s", strerror(errno));
        return;
    }
    qsort(list, n, sizeof *list, by_name);
    for (int i = 0; i < n; i++)
        entry_of(directory, list[i]);
}

static struct dirent *copy_of(const struct dirent *entry) { return memcpy(malloc(entry->d_reclen), entry, entry->d_reclen); }

/* Prints all entries of a stream, which the expression `next` reads one by one. */
#define READS(stream, directory, next)                                                                                 \
    ({                                                                                                                 \
        struct dirent *list[256], *entry;                                                                              \
        int n = 0;                                                                                                     \
        while ((entry = (struct dirent *)(next)))                                                                      \
            list[n++] = copy_of(entry);                                                                                \
        say("%s: %d", #next, n);                                                                                       \
        entries(directory, list, n);                                                                                   \
    })

static struct dirent *next_r(DIR *stream) {
    static struct dirent entry;
    struct dirent *result;
    return readdir_r(stream, &entry, &result) == 0 ? result : NULL;
}
static struct dirent64 *next64_r(DIR *stream) {
    static struct dirent64 entry;
    struct dirent64 *result;
    return readdir64_r(stream, &entry, &result) == 0 ? result : NULL;
}

PROBE(streams) {
    struct stat s, t;
    DIR *stream = POINTER(opendir(P("full")));
    fstat(dirfd(stream), &s);
    stat(P("full"), &t);
    say("one directory %d", same(&s, &t));
    fstatat(dirfd(stream), "1", &s, 0);
    stat(P("full/1"), &t);
    say("one file %d", same(&s, &t));
    READS(stream, P("full"), readdir(stream));
    rewinddir(stream);
    READS(stream, P("full"), readdir64(stream));
    rewinddir(stream);
    READS(stream, P("full"), next_r(stream));
    rewinddir(stream);
    READS(stream, P("full"), next64_r(stream));
    CALL(closedir(stream));
    stream = POINTER(opendir(P("to-d")));
    READS(stream, P("d"), readdir(stream));
    closedir(stream);
    POINTER(opendir(P("a")));
}

PROBE(top) {
    DIR *stream = POINTER(opendir(E));
    READS(stream, E, readdir(stream));
    closedir(stream);
}

PROBE(from_descriptors) {
    DIR *stream = POINTER(fdopendir(OPEN(open(P("full"), O_RDONLY | O_DIRECTORY))));
    READS(stream, P("full"), readdir(stream));
    struct stat s, t;
    fstat(dirfd(stream), &s);
    stat(P("full"), &t);
    say("one directory %d", same(&s, &t));
    closedir(stream);
    POINTER(fdopendir(OPEN(open(P("a"), O_RDONLY))));
    int d = open(P("d"), O_RDONLY | O_DIRECTORY);
    stream = POINTER(fdopendir(OPEN(openat(d, "sub", O_RDONLY | O_DIRECTORY))));
    READS(stream, P("d/sub"), readdir(stream));
    CONTENTS(openat(dirfd(stream), "c", O_RDONLY));
}

/* Reads a stream again from each of its positions, and from its beginning. */
PROBE(positions) {
    DIR *stream = fdopendir(open(P("full"), O_RDONLY | O_DIRECTORY));
    char names[16][256];
    long places[16];
    int n = 0;
    for (;;) {
        places[n] = telldir(stream);
        struct dirent *entry = readdir(stream);
        if (!entry)
            break;
        strcpy(names[n++], entry->d_name);
    }
    say("%d entries", n);
    int right = 0;
    for (int i = n - 1; i >= 0; i--) {
        seekdir(stream, places[i]);
        struct dirent *entry = readdir(stream);
        right += entry && !strcmp(entry->d_name, names[i]);
    }
    say("found again %d", right);
    for (int round = 0; round < 3; round++) {
        rewinddir(stream);
        right = 0;
        for (struct dirent *entry; (entry = readdir(stream));)
            right += !strcmp(entry->d_name, names[right]);
        say("after rewinddir %d", right);
    }
}

/* Opens a stream that gets the memory of a closed stream. The new stream must have its own entries. */
PROBE(closing) {
    DIR *stream = opendir(P("full"));
    say("read %d", readdir(stream) != NULL);
    closedir(stream);
    CALL(mkdir(B("out/full"), 0755));
    for (int i = 1; i <= 3; i++)
        write_file(name_in(B("out/full"), (char[]){'0' + i, 0}), "other\n");
    DIR *other = opendir(B("out/full"));
    say("in its place %d", other == stream);
    READS(other, B("out/full"), readdir(other));
    closedir(other);
}

static int digits(const struct dirent *entry) { return entry->d_name[0] >= '0' && entry->d_name[0] <= '9'; }
static int digits64(const struct dirent64 *entry) { return digits((const struct dirent *)entry); }

PROBE(scanning) {
    struct dirent **list;
    struct dirent64 **list64;
    int top = open(E, O_RDONLY), n;
    say("%d", n = scandir(P("full"), &list, NULL, alphasort));
    entries(P("full"), list, n);
    say("%d", n = scandir64(P("full"), &list64, digits64, alphasort64));
    entries(P("full"), (struct dirent **)list64, n);
    say("%d", n = scandirat(top, "full", &list, digits, alphasort));
    entries(P("full"), list, n);
    say("%d", n = scandirat64(top, "full", &list64, NULL, NULL));
    entries(P("full"), (struct dirent **)list64, n);
    say("%d", n = scandirat(AT_FDCWD, P("full"), &list, NULL, versionsort));
    entries(P("full"), list, n);
    say("%d", n = scandirat64(AT_FDCWD, P("full"), &list64, NULL, NULL));
    entries(P("full"), (struct dirent **)list64, n);
    CALL(scandir(P("nope"), &list, NULL, NULL));
    CALL(scandir64(P("a"), &list64, NULL, NULL));
}

static void globs(const glob_t *found, int status) {
    say("%d: %zu", status, status ? 0 : found->gl_pathc);
    for (size_t i = 0; status == 0 && i < found->gl_pathc; i++)
        say("  %s", found->gl_pathv[i]);
}

PROBE(globbing) {
    glob_t found;
    glob64_t found64;
    globs(&found, glob(P("full/*"), 0, NULL, &found));
    globs(&found, glob(P("*/[0-9b]"), GLOB_MARK, NULL, &found));
    globs(&found, glob(P("nope/*"), 0, NULL, &found));
    globs(&found, glob(P("{a,d,lib64}"), GLOB_BRACE, NULL, &found));
    globs(&found, glob(P("to-d/*/c"), GLOB_ERR, NULL, &found));
    globs((glob_t *)&found64, glob64(P("d/*"), GLOB_MARK, NULL, &found64));
    globs((glob_t *)&found64, glob64(P("d/sub/c"), 0, NULL, &found64));
}

PROBE(words) {
    wordexp_t found;
    int status = wordexp("$E/full/[0-9] $E/nope*", &found, 0);
    say("%d: %zu", status, found.we_wordc);
    for (size_t i = 0; status == 0 && i < found.we_wordc; i++)
        say("  %s", found.we_wordv[i]);
}

/* The lines that a walk reports. They are printed sorted, because directories have no order. */
static char *reported[512];
static int reports;
static void report(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (reports < 512 && vasprintf(&reported[reports], format, arguments) >= 0)
        reports++;
    va_end(arguments);
}
static void reports_sorted(const char *what) {
    qsort(reported, reports, sizeof *reported, by_text);
    say("%s: %d", what, reports);
    for (int i = 0; i < reports; free(reported[i++]))
        say("  %s", reported[i]);
    reports = 0;
}

static int walked(const char *path, const struct stat *s, int flag) {
    struct stat own;
    report("%s flag %d same %d", path, flag, flag == FTW_NS || stat(path, &own) || same(s, &own));
    return 0;
}
static int walked64(const char *path, const struct stat64 *s, int flag) { return walked(path, (const void *)s, flag); }
static int walked_n(const char *path, const struct stat *s, int flag, struct FTW *at) {
    struct stat own;
    int told = lstat(path, &own) == 0 || stat(path + at->base, &own) == 0;
    report("%s flag %d level %d base %s told %d ino %d", path, flag, at->level, path + at->base, told, own.st_ino == s->st_ino);
    return 0;
}
static int walked_n64(const char *path, const struct stat64 *s, int flag, struct FTW *at) {
    return walked_n(path, (const void *)s, flag, at);
}

PROBE(walking) {
    CALL(ftw(P("d"), walked, 8));
    reports_sorted("ftw");
    CALL(ftw64(P("d"), walked64, 8));
    reports_sorted("ftw64");
    CALL(nftw(E, walked_n, 8, FTW_PHYS));
    reports_sorted("nftw");
    CALL(nftw(P("full"), walked_n, 1, FTW_DEPTH | FTW_PHYS | FTW_MOUNT));
    reports_sorted("nftw in depth");
    CALL(nftw64(P("full"), walked_n64, 8, FTW_PHYS));
    reports_sorted("nftw64");
    CALL(nftw(P("nope"), walked_n, 8, 0));
}

PROBE(walking_in_the_directories) {
    CALL(nftw(P("d"), walked_n, 8, FTW_CHDIR | FTW_PHYS));
    reports_sorted("nftw");
    CALL(nftw64(P("full"), walked_n64, 8, FTW_CHDIR | FTW_DEPTH | FTW_PHYS));
    reports_sorted("nftw64");
    say("%s", getcwd(NULL, 0));
}

#define TRAVERSES(fts, options)                                                                                        \
    ({                                                                                                                 \
        char *paths[] = {(char *)P("d"), (char *)P("full"), NULL};                                                     \
        __typeof__(fts##_open(paths, 0, NULL)) tree = fts##_open(paths, options, NULL);                                \
        __typeof__(fts##_read(tree)) entry;                                                                            \
        while (tree && (entry = fts##_read(tree))) {                                                                   \
            struct stat own;                                                                                           \
            int told = lstat(entry->fts_accpath, &own) == 0;                                                           \
            report("%s info %d level %d told %d ino %d", entry->fts_path, entry->fts_info, entry->fts_level, told,     \
                   own.st_ino == entry->fts_statp->st_ino);                                                            \
        }                                                                                                              \
        say("%d", tree ? fts##_close(tree) : -2);                                                                      \
        reports_sorted(#fts " " #options);                                                                             \
    })

PROBE(traversing) {
    TRAVERSES(fts, FTS_PHYSICAL | FTS_NOCHDIR);
    TRAVERSES(fts64, FTS_LOGICAL | FTS_NOCHDIR);
}

PROBE(traversing_in_the_directories) {
    TRAVERSES(fts, FTS_PHYSICAL);
    TRAVERSES(fts64, FTS_PHYSICAL);
    say("%s", getcwd(NULL, 0));
}

/* Counts the names that a stream has still to give. */
static int rest_of(DIR *directory) {
    int n = 0;
    while (readdir(directory))
        n++;
    return n;
}

PROBE(rewound) {
    DIR *directory = opendir(P("full"));
    say("names %d", rest_of(directory));
    write_file(P("full/new"), "new\n");
    rewinddir(directory);
    say("after one was made %d", rest_of(directory));
    CALL(unlink(P("full/1")));
    CALL(unlink(P("full/2")));
    rewinddir(directory);
    say("after two were removed %d", rest_of(directory));
    CALL(unlinkat(dirfd(directory), "new", 0));
    closedir(directory);
}

/* Makes a name between two calls of getdents64. The second call must not repeat names of the first. */
PROBE(under_way) {
    char buffer[80];
    int fd = open(P("full"), O_RDONLY | O_DIRECTORY), times[128] = {0}, calls = 0;
    for (ssize_t n; (n = getdents64(fd, buffer, sizeof buffer)) > 0;) {
        for (ssize_t at = 0; at < n;) {
            struct dirent64 *entry = (void *)(buffer + at);
            times[*entry->d_name & 127]++;
            at += entry->d_reclen;
        }
        if (++calls == 2)
            write_file(P("full/new"), "new\n");
    }
    say("times %d %d %d %d %d", times['1'], times['2'], times['3'], times['l'], times['s']);
    CALL(lseek(fd, 0, SEEK_SET));
    int n = 0;
    while (getdents64(fd, buffer, sizeof buffer) > 0)
        n++;
    say("from the beginning: some %d", n > 0);
}
