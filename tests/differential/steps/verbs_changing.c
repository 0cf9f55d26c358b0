/*
 * Performs the verbs that change objects by their names.
 */
#include "steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

int perform_changing(const char *verb) {
    struct stat s;
    struct timespec times[2];
    int n;
    if (!strcmp(verb, "mkdir"))
        worked(mkdir(text(1), octal(2)));
    VERB("mkdirat") worked(mkdirat(at(1), text(2), octal(3)));
    VERB("rmdir") worked(rmdir(text(1)));
    VERB("unlink") worked(unlink(text(1)));
    VERB("unlinkat") worked(unlinkat(at(1), text(2), flags_of(raw(3), at_flags)));
    VERB("remove") worked(remove(text(1)));
    VERB("rename") worked(rename(text(1), text(2)));
    VERB("renameat") worked(renameat(at(1), text(2), at(3), text(4)));
    VERB("renameat2") worked(renameat2(at(1), text(2), at(3), text(4), flags_of(raw(5), rename_flags)));
    VERB("link") worked(link(text(1), text(2)));
    VERB("linkat") worked(linkat(at(1), text(2), at(3), text(4), flags_of(raw(5), at_flags)));
    VERB("symlink") worked(symlink(text(1), text(2)));
    VERB("symlinkat") worked(symlinkat(text(1), at(2), text(3)));
    VERB("mkfifo") worked(mkfifo(text(1), octal(2)));
    VERB("mknod") worked(mknod(text(1), S_IFIFO | octal(2), 0));
    VERB("mknodat") worked(mknodat(at(1), text(2), S_IFREG | octal(3), 0));
    VERB("chmod") worked(chmod(text(1), octal(2)));
    VERB("fchmodat") worked(fchmodat(at(1), text(2), octal(3), flags_of(raw(4), at_flags)));
    VERB("chown") worked(chown(text(1), number(2), number(3)));
    VERB("lchown") worked(lchown(text(1), number(2), number(3)));
    VERB("fchownat") worked(fchownat(at(1), text(2), number(3), number(4), flags_of(raw(5), at_flags)));
    VERB("utimensat") {
        times[0] = time_of(raw(3)), times[1] = time_of(raw(4));
        worked(utimensat(at(1), text(2), times, flags_of(raw(5), at_flags)));
    }
    VERB("truncate") worked(truncate(text(1), number(2)));
    VERB("setxattr") { char *p = text(1), *a = text(2), *v = text(3); worked(setxattr(p, a, v, length_of_text, flags_of(raw(4), xattr_flags))); }
    VERB("lsetxattr") { char *p = text(1), *a = text(2), *v = text(3); worked(lsetxattr(p, a, v, length_of_text, flags_of(raw(4), xattr_flags))); }
    VERB("removexattr") worked(removexattr(text(1), text(2)));
    VERB("lremovexattr") worked(lremovexattr(text(1), text(2)));
    VERB("mkstemp") {
        /* The file's name is random, so the file is removed again and its name does not appear in the answer. */
        char *t = text(1);
        n = mkstemp(t);
        if (worked(n) && fstat(n, &s) == 0)
            say(" mode %o size %ld, gone: ", s.st_mode, (long)s.st_size), worked(unlink(t)), close(n);
    }
    else
        return 0;
    return 1;
}
