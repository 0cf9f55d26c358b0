/*
 * Performs the verbs on descriptors: opening, data, attributes, locks, mappings.
 */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct mapping {
    char *at;
    size_t length;
} maps[MAPS];

int is_mapped(int n) { return maps[n].at != NULL; }

/* Sets or asks about a record lock. */
static void record_lock(int i, int command) {
    static const struct flag types[] = {{"RD", F_RDLCK}, {"WR", F_WRLCK}, {"UN", F_UNLCK}, {NULL, 0}};
    struct flock lock = {.l_type = flags_of(raw(i + 1), types), .l_whence = SEEK_SET, .l_start = number(i + 2),
                         .l_len = number(i + 3)};
    int r = fcntl(at(i), command, &lock);
    if (!worked(r))
        return;
    if (command == F_GETLK || command == F_OFD_GETLK)
        say(" %s %ld+%ld %s", lock.l_type == F_UNLCK ? "free" : lock.l_type == F_RDLCK ? "read" : "write",
            (long)lock.l_start, (long)lock.l_len, lock.l_type == F_UNLCK ? "" : lock.l_pid == -1 ? "file" : "process");
}

int perform_on_descriptor(const char *verb) {
    struct stat s;
    struct timespec times[2];
    int n;
    if (!strcmp(verb, "open")) {
        empty(1);
        hold(1, open(text(2), flags_of(raw(3), open_flags), octal(4)));
    }
    VERB("open64") { empty(1); hold(1, open64(text(2), flags_of(raw(3), open_flags), octal(4))); }
    VERB("openat") { empty(1); hold(1, openat(at(2), text(3), flags_of(raw(4), open_flags), octal(5))); }
    VERB("openat-raw") { empty(1); hold(1, syscall(SYS_openat, at(2), text(3), flags_of(raw(4), open_flags), octal(5))); }
    VERB("creat") { empty(1); hold(1, creat(text(2), octal(3))); }
    VERB("read", "readv") {
        size_t want = number(2);
        if (want > sizeof buffer)
            want = sizeof buffer;
        struct iovec parts[2] = {{buffer, want / 2}, {buffer + want / 2, want - want / 2}};
        ssize_t got = *verb && verb[4] == 'v' ? readv(at(1), parts, 2) : read(at(1), buffer, want);
        if (result(got))
            say(" "), say_bytes(buffer, got);
    }
    VERB("pread") {
        ssize_t got = pread(at(1), buffer, number(2) > (long)sizeof buffer ? (long)sizeof buffer : number(2), number(3));
        if (result(got))
            say(" "), say_bytes(buffer, got);
    }
    VERB("write") { char *t = text(2); result(write(at(1), t, length_of_text)); }
    VERB("pwrite") { char *t = text(2); result(pwrite(at(1), t, length_of_text, number(3))); }
    VERB("ftruncate") worked(ftruncate(at(1), number(2)));
    VERB("fallocate") worked(fallocate(at(1), 0, number(2), number(3)));
    VERB("lseek") {
        static const struct flag whences[] = {{"SET", 0}, {"CUR", 1}, {"END", 2}, {"DATA", 3}, {"HOLE", 4}, {NULL, 0}};
        result(lseek(at(1), number(2), flags_of(raw(3), whences)));
    }
    VERB("close") {
        n = slot_number(raw(1), 's', SLOTS);
        worked(close(at(1)));
        if (n >= 0)
            slots[n] = -1;
    }
    VERB("dup") { empty(2); hold(2, dup(at(1))); }
    VERB("fdupfd") { empty(2); hold(2, fcntl(at(1), F_DUPFD_CLOEXEC, 3)); }
    VERB("dup2") {
        /* dup2 onto the descriptor of the second slot, which keeps its number. */
        int to = at(2);
        result(dup2(at(1), to) < 0 ? -1 : 0);
    }
    VERB("getfl") { n = fcntl(at(1), F_GETFL); if (n < 0) result(n); else say("%x", n); }
    VERB("setfl") worked(fcntl(at(1), F_SETFL, flags_of(raw(2), open_flags)));
    VERB("getfd") result(fcntl(at(1), F_GETFD));
    VERB("setfd") worked(fcntl(at(1), F_SETFD, number(2)));
    VERB("flock") {
        static const struct flag kinds[] = {{"SH", LOCK_SH}, {"EX", LOCK_EX}, {"UN", LOCK_UN}, {NULL, 0}};
        worked(flock(at(1), flags_of(raw(2), kinds) | LOCK_NB));
    }
    VERB("lock") record_lock(1, F_SETLK);
    VERB("getlk") record_lock(1, F_GETLK);
    VERB("ofdlock") record_lock(1, F_OFD_SETLK);
    VERB("ofdgetlk") record_lock(1, F_OFD_GETLK);
    VERB("lockf") {
        static const struct flag kinds[] = {{"TLOCK", F_TLOCK}, {"ULOCK", F_ULOCK}, {"TEST", F_TEST}, {NULL, 0}};
        worked(lockf(at(1), flags_of(raw(2), kinds), number(3)));
    }
    VERB("fstat") attributes(fstat(at(1), &s), &s);
    VERB("fchmod") worked(fchmod(at(1), octal(2)));
    VERB("fchown") worked(fchown(at(1), number(2), number(3)));
    VERB("futimens") { times[0] = time_of(raw(2)), times[1] = time_of(raw(3)); worked(futimens(at(1), times)); }
    VERB("fsetxattr") { char *a = text(2), *v = text(3); worked(fsetxattr(at(1), a, v, length_of_text, flags_of(raw(4), xattr_flags))); }
    VERB("fremovexattr") worked(fremovexattr(at(1), text(2)));
    VERB("map") {
        /* map mN sN LENGTH (READ|WRITE|PRIVATE) */
        n = slot_number(raw(1), 'm', MAPS);
        if (n < 0)
            return 1;
        if (maps[n].at)
            munmap(maps[n].at, maps[n].length), maps[n].at = NULL;
        int writable = !!strstr(raw(4), "WRITE"), alone = !!strstr(raw(4), "PRIVATE");
        size_t length = number(3);
        char *p = mmap(NULL, length, PROT_READ | (writable ? PROT_WRITE : 0), alone ? MAP_PRIVATE : MAP_SHARED, at(2), 0);
        if (worked(p == MAP_FAILED ? -1 : 0))
            maps[n] = (struct mapping){p, length};
    }
    VERB("mapread", "mapwrite", "unmap") {
        n = slot_number(raw(1), 'm', MAPS);
        struct mapping *m = n < 0 ? NULL : &maps[n];
        if (!m || !m->at)
            say("no mapping");
        else if (verb[0] == 'u')
            worked(munmap(m->at, m->length)), m->at = NULL;
        else {
            /* Read the mapping by a write into a pipe, so that a page beyond the file's end gives EFAULT and not a signal. */
            int through[2];
            if (pipe2(through, O_CLOEXEC | O_NONBLOCK) < 0) {
                say("no pipe");
                return 1;
            }
            if (verb[3] == 'r') {
                size_t most = m->length < 4096 ? m->length : 4096;
                ssize_t got = syscall(SYS_write, through[1], m->at, most);
                if (result(got))
                    say(" "), say_bytes(m->at, got);
            } else {
                char *t = text(3);
                size_t from = number(2), put = length_of_text;
                if (from + put > m->length)
                    say("too long");
                else if (syscall(SYS_write, through[1], t, put) == (ssize_t)put)
                    result(syscall(SYS_read, through[0], m->at + from, put));
            }
            close(through[0]), close(through[1]);
        }
    }
    VERB("fsync") worked(fsync(at(1)));
    VERB("fdatasync") worked(fdatasync(at(1)));
    VERB("syncfs") worked(syncfs(at(1)));
    VERB("fadvise") worked(posix_fadvise(at(1), 0, 0, POSIX_FADV_WILLNEED));
    VERB("name") {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", at(1));
        ssize_t got = readlink(name, buffer, PATH_MAX);
        if (got < 0) result(-1); else say_bytes(buffer, got);
    }
    VERB("copyrange") result(copy_file_range(at(1), NULL, at(2), NULL, number(3), 0));
    else
        return 0;
    return 1;
}
