/* Asks the file system for its figures and limits, and reads extended attributes. */
#include "probe.h"
#include <mntent.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/xattr.h>

/* Prints a result of statfs, except the free space, which other processes change. */
#define SHOWS(call, s) (CALL(call), say("  type %lx bsize %ld namelen %ld flags %lx id %d", (long)s.f_type, (long)s.f_bsize, \
                       (long)s.f_namelen, (long)s.f_flags, !memcmp(&s.f_fsid, &first.f_fsid, sizeof s.f_fsid)))
#define SHOWS_V(call, s) (CALL(call), say("  bsize %ld frsize %ld namemax %ld flag %lx", (long)s.f_bsize, (long)s.f_frsize, \
                         (long)s.f_namemax, (long)s.f_flag))

PROBE(kinds) {
    struct statfs first, s;
    struct statfs64 l;
    struct statvfs v;
    struct statvfs64 v64;
    statfs(B("out"), &first);
    int fd = open(P("a"), O_RDONLY), d = open(P("d"), O_RDONLY);
    SHOWS(statfs(P("a"), &s), s);
    SHOWS(statfs(E, &s), s);
    SHOWS(statfs64(P("to-d"), &l), l);
    SHOWS(fstatfs(fd, &s), s);
    SHOWS(fstatfs64(d, &l), l);
    SHOWS_V(statvfs(P("a"), &v), v);
    SHOWS_V(statvfs64(P("a"), &v64), v64);
    SHOWS_V(fstatvfs(fd, &v), v);
    SHOWS_V(fstatvfs64(d, &v64), v64);
    CALL(statvfs(P("nope"), &v));
    CALL(statvfs64(P("nope"), &v64));
    CALL(statfs64(P("nope"), &l));
}

PROBE(limits) {
    int fd = open(P("a"), O_RDONLY);
    static const int names[] = {_PC_NAME_MAX, _PC_PATH_MAX, _PC_LINK_MAX, _PC_2_SYMLINKS, _PC_CHOWN_RESTRICTED,
                                _PC_FILESIZEBITS, _PC_REC_XFER_ALIGN, _PC_ALLOC_SIZE_MIN};
    for (int i = 0; i < 8; i++) {
        CALL(pathconf(P("a"), names[i]));
        CALL(fpathconf(fd, names[i]));
        CALL(pathconf(E, names[i]));
    }
    CALL(pathconf(P("nope"), _PC_NAME_MAX));
}

#define VALUE(call)                                                                                                    \
    ({                                                                                                                 \
        char value[256] = "";                                                                                          \
        long n_ = CALL(call);                                                                                          \
        say("  %.*s", n_ > 0 ? (int)n_ : 0, value);                                                                    \
    })

/* Reads extended attributes in the standard tree, whose files have no extended attributes. */
PROBE(no_attributes) {
    VALUE(getxattr(P("to-a"), "user.note", value, sizeof value));
    VALUE(lgetxattr(P("to-a"), "user.note", value, sizeof value));
    VALUE(listxattr(P("a"), value, sizeof value));
    VALUE(llistxattr(P("to-a"), value, sizeof value));
    VALUE(getxattr(P("nope"), "user.note", value, sizeof value));
    VALUE(listxattr(P("a/x"), value, sizeof value));
    VALUE(llistxattr(P("nope"), value, sizeof value));
    VALUE(lgetxattr(P("nope"), "user.note", value, sizeof value));
}

/* Reads extended attributes in the tree `writable`. */
PROBE(attribute_values) {
    int fd = open(P("w/removexattr"), O_RDONLY);
    VALUE(getxattr(P("w/removexattr"), "user.note", value, sizeof value));
    VALUE(lgetxattr(P("w/removexattr"), "user.note", value, sizeof value));
    VALUE(fgetxattr(fd, "user.note", value, sizeof value));
    VALUE(getxattr(P("w/removexattr"), "user.note", value, 1));
    CALL(getxattr(P("w/removexattr"), "user.note", NULL, 0));
    VALUE(getxattr(P("w/removexattr"), "user.other", value, sizeof value));
    VALUE(listxattr(P("w/removexattr"), value, sizeof value));
    VALUE(llistxattr(P("w/removexattr"), value, sizeof value));
    VALUE(flistxattr(fd, value, sizeof value));
}

PROBE(mount_table) {
    FILE *table = POINTER(setmntent(P("fstab"), "r"));
    struct mntent *entry = table ? getmntent(table) : NULL;
    say("%s", entry ? entry->mnt_dir : "nothing");
    POINTER(setmntent(P("nope"), "r"));
}

static struct sockaddr_un address(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

PROBE(sockets) {
    struct sockaddr_un at = address(P("d/socket")), other = address(P("a")), none = address(P("nope")), name = {0};
    socklen_t length = sizeof name;
    char text[16] = "";
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CALL(bind(server, (struct sockaddr *)&at, sizeof at));
    CALL(listen(server, 1));
    attributes(P("d/socket"));
    CALL(access(P("d/socket"), F_OK));
    listing(P("d"));
    CALL(getsockname(server, (struct sockaddr *)&name, &length));
    say("%s", name.sun_path);
    CALL(connect(client, (struct sockaddr *)&none, sizeof none));
    CALL(connect(client, (struct sockaddr *)&other, sizeof other));
    CALL(connect(client, (struct sockaddr *)&at, sizeof at));
    int end = OPEN(accept(server, NULL, NULL));
    CALL(write(client, "through\n", 8));
    CALL(read(end, text, sizeof text));
    say("%s", text);
    CALL(bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&at, sizeof at));
    run("ls", P("d"), NULL);
    CALL(unlink(P("d/socket")));
    CALL(access(P("d/socket"), F_OK));
}

/* Binds and connects a socket by a relative name. */
PROBE(relative_socket) {
    struct sockaddr_un at = address("socket");
    CALL(chdir(P("d")));
    CALL(bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&at, sizeof at));
    attributes(P("d/socket"));
    CALL(connect(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&at, sizeof at));
}

PROBE(notification) {
    char buffer[4096];
    int fd = inotify_init1(IN_NONBLOCK), d = open(P("d"), O_RDONLY);
    CALL(inotify_add_watch(fd, P("d"), IN_CREATE | IN_DELETE));
    CALL(inotify_add_watch(fd, P("nope"), IN_CREATE));
    write_file(P("d/made"), "x");
    CALL(unlink(P("d/b")));
    long n = read(fd, buffer, sizeof buffer);
    for (char *at = buffer; n > 0 && at < buffer + n; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len)
        say("%x %s", ((struct inotify_event *)at)->mask, ((struct inotify_event *)at)->name);
    say("read %d", n > 0);
}
