/*
 * Performs the verbs that look at objects by their names, and at directories.
 */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static __thread char *walked[4096];
static __thread size_t length_walked;

static int walk(const char *path, const struct stat *s, int kind, struct FTW *where) {
    if (length_walked < 4096 && asprintf(&walked[length_walked], "%s/%d/%d/%o", path, kind, where->level,
                                         kind == FTW_NS ? 0 : s->st_mode) > 0)
        length_walked++;
    return 0;
}

/* Reads or writes a whole file by stdio. */
static void stdio(const char *path, const char *mode, const char *put) {
    FILE *file = fopen(path, mode);
    if (!file) {
        result(-1);
        return;
    }
    char buffer[4096];
    if (*mode == 'r') {
        size_t n = fread(buffer, 1, sizeof buffer, file);
        int bad = ferror(file);
        say_bytes(buffer, n);
        if (bad)
            say(" error");
    }
    if (*put) {
        if (*mode == 'r')
            fseek(file, 0, SEEK_CUR);
        say(" put %d", fputs(put, file) >= 0);
    }
    say(" closed ");
    result(fclose(file));
}

int perform_looking(const char *verb) {
    static char more[1 << 16];
    struct stat s;
    int n;
    if (!strcmp(verb, "stat"))
        attributes(stat(text(1), &s), &s);
    VERB("lstat") attributes(lstat(text(1), &s), &s);
    VERB("fstatat") attributes(fstatat(at(1), text(2), &s, flags_of(raw(3), at_flags)), &s);
    VERB("statx") {
        struct statx x;
        if (statx(at(1), text(2), flags_of(raw(3), at_flags), STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
            result(-1);
        else {
            s = (struct stat){.st_mode = x.stx_mode, .st_nlink = x.stx_nlink, .st_uid = x.stx_uid, .st_gid = x.stx_gid,
                              .st_size = x.stx_size, .st_blocks = x.stx_blocks, .st_blksize = x.stx_blksize,
                              .st_dev = (dev_t)x.stx_dev_major << 8 | x.stx_dev_minor, .st_ino = x.stx_ino};
            s.st_mtim = (struct timespec){x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec};
            s.st_ctim = (struct timespec){x.stx_ctime.tv_sec, x.stx_ctime.tv_nsec};
            say_stat(&s);
            say(" mask %x", x.stx_mask & (STATX_BASIC_STATS | STATX_BTIME));
        }
    }
    VERB("access") worked(access(text(1), number(2)));
    VERB("euidaccess") worked(euidaccess(text(1), number(2)));
    VERB("faccessat") worked(faccessat(at(1), text(2), number(3), flags_of(raw(4), at_flags)));
    VERB("readlink", "readlinkat") {
        int by_name = verb[8] == 0;
        long room = number(by_name ? 2 : 3);
        ssize_t got = by_name ? readlink(text(1), buffer, room) : readlinkat(at(1), text(2), buffer, room);
        if (result(got))
            say(" "), say_bytes(buffer, got);
    }
    VERB("realpath") { if (realpath(text(1), buffer)) say("%s", buffer); else result(-1); }
    VERB("list") listing(opendir(text(1)));
    VERB("listat") { n = openat(at(1), text(2), O_RDONLY | O_DIRECTORY); if (n < 0) result(n); else listing(fdopendir(n)); }
    VERB("getdents") entries(at(1));
    VERB("opendir", "fdopendir") {
        n = slot_number(raw(1), 't', STREAMS);
        if (n < 0)
            return 1;
        if (streams[n])
            closedir(streams[n]), streams[n] = NULL;
        if (*verb == 'o')
            streams[n] = opendir(text(2));
        else {
            /* From here on the descriptor belongs to the stream. */
            streams[n] = fdopendir(at(2));
            int of = slot_number(raw(2), 's', SLOTS);
            if (streams[n] && of >= 0)
                slots[of] = -1;
        }
        if (streams[n]) say("fd %d", dirfd(streams[n])); else result(-1);
    }
    VERB("readdir", "rewinddir", "closedir", "dirfd") {
        n = slot_number(raw(1), 't', STREAMS);
        DIR *stream = n < 0 ? NULL : streams[n];
        if (!stream)
            say("no stream");
        else if (verb[0] == 'd')
            attributes(fstat(dirfd(stream), &s), &s);
        else if (verb[2] == 'w')
            rewinddir(stream), say("ok");
        else if (verb[0] == 'c')
            worked(closedir(stream)), streams[n] = NULL;
        else
            say_stream(stream);
    }
    VERB("getxattr", "lgetxattr", "fgetxattr") {
        char *a = text(2);
        ssize_t got = *verb == 'g' ? getxattr(text(1), a, buffer, number(3))
                      : *verb == 'l' ? lgetxattr(text(1), a, buffer, number(3)) : fgetxattr(at(1), a, buffer, number(3));
        if (result(got) && number(3))
            say(" "), say_bytes(buffer, got);
    }
    VERB("listxattr", "llistxattr", "flistxattr") {
        ssize_t got = verb[0] == 'f' ? flistxattr(at(1), more, number(2))
                      : verb[1] == 'l' ? llistxattr(text(1), more, number(2)) : listxattr(text(1), more, number(2));
        if (result(got) && number(2)) {
            char *names[1024];
            size_t found = 0;
            for (char *p = more; p < more + got && found < 1024; p += strlen(p) + 1)
                names[found++] = strdup(p);
            say(" "), say_sorted(names, found);
        }
    }
    VERB("fopen") { text(3); stdio(text(1), raw(2), count > 3 ? space[3] : ""); }
    VERB("freopen") {
        FILE *file = fopen("/dev/null", "r");
        file = file ? freopen(text(1), raw(2), file) : NULL;
        if (!file)
            result(-1);
        else {
            size_t got = fread(buffer, 1, 4096, file);
            say_bytes(buffer, got);
            fclose(file);
        }
    }
    VERB("glob") {
        glob_t found;
        int r = glob(text(1), flags_of(raw(2), glob_flags), NULL, &found);
        say("%d", r);
        if (!r) {
            for (size_t i = 0; i < found.gl_pathc; i++)
                say(" %s", found.gl_pathv[i]);
            globfree(&found);
        }
    }
    VERB("nftw") {
        length_walked = 0;
        int r = nftw(text(1), walk, 5, number(2));
        /* The number of entries before an error depends on their order, which may differ, so only the error is compared. */
        if (r < 0)
            result(r);
        else
            say_sorted(walked, length_walked);
    }
    VERB("fts") {
        char *top[] = {text(1), NULL};
        char *lines[4096];
        size_t found = 0;
        FTS *fts = fts_open(top, FTS_PHYSICAL | number(2), NULL);
        if (!fts) {
            result(-1);
            return 1;
        }
        for (FTSENT *e; (e = fts_read(fts)) && found < 4096;)
            if (e->fts_info != FTS_DP && asprintf(&lines[found], "%s/%d/%d", e->fts_path, e->fts_info, e->fts_level) > 0)
                found++;
        fts_close(fts);
        say_sorted(lines, found);
    }
    VERB("statvfs") {
        struct statvfs v;
        if (statvfs(text(1), &v) < 0) result(-1); else say("%lu %lu %lx", v.f_bsize, v.f_namemax, v.f_flag);
    }
    VERB("pathconf") { errno = 0; result(pathconf(text(1), _PC_NAME_MAX)); }
    VERB("same") {
        /* Tell whether a descriptor and a name lead to the same file. */
        struct stat other;
        if (fstat(at(1), &s) < 0 || stat(text(2), &other) < 0)
            result(-1);
        else
            say(s.st_dev == other.st_dev && s.st_ino == other.st_ino ? "same" : "different");
    }
    else
        return 0;
    return 1;
}
