/*
 * mdsfs: imitates a parallel file system with one slow metadata server that all nodes share.
 *
 *   mdsfs [-f] [-w] SRC MNT STATE                    mounts SRC on MNT in the background, read-only without -w; with -f
 *                                                    runs in the foreground, prints "mounted", and ends with its parent
 *   mdsfs set STATE OPS_PER_S LATENCY_US [MB_PER_S]  0 = no limit
 *   mdsfs stat STATE | reset STATE                   prints or clears the counters
 *
 * STATE is a file that every mount maps. It holds one queue for metadata, one for data, and counters that sum over all
 * nodes. Mount mdsfs once in each node: each mount then has its own cache in the kernel. The cache is valid for
 * $MDSFS_TIMEOUT seconds (default 60; 0 turns the cache off). With $MDSFS_WHOLE_SECONDS set, times have no fractions.
 * Directory listings carry no attributes.
 * The kernel checks access by owners and modes.
 *
 * Invariants: every request that a metadata server would see passes mds() exactly once, even if the request fails.
 * Built by build-mdsfs.sh.
 */
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static double cache_seconds = 60;
static int writable;
static int whole_seconds;

#include "mdsqueue.h"
#include "mdsnode.h"

#include "mdswrite.h"

static void do_init(void *user, struct fuse_conn_info *connection) {
    (void)user;
    if (connection->capable & FUSE_CAP_SPLICE_WRITE)
        connection->want |= FUSE_CAP_SPLICE_WRITE;
    connection->want &= ~FUSE_CAP_READDIRPLUS;
    connection->max_background = 64;
}

static void do_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct fuse_entry_param entry = {.attr_timeout = cache_seconds, .entry_timeout = cache_seconds, .generation = 1};
    struct node *node = node_at(fd_of(parent), name, &entry.attr);
    int error = errno;
    mds(node ? LOOKUP : NEGATIVE);
    entry.ino = (fuse_ino_t)node; /* inode 0: the kernel remembers that the name does not exist */
    if (node || error == ENOENT)
        fuse_reply_entry(request, &entry);
    else
        fuse_reply_err(request, error);
}

static void do_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    struct stat s;
    (void)file;
    mds(GETATTR);
    if (attributes_of(fd_of(ino), &s) < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_attr(request, &s, cache_seconds);
}

static void do_readlink(fuse_req_t request, fuse_ino_t ino) {
    char target[4097];
    mds(READLINK);
    ssize_t length = readlinkat(fd_of(ino), "", target, sizeof target - 1);
    if (length < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    target[length] = 0;
    fuse_reply_readlink(request, target);
}

static void do_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    mds(OPEN);
    if (!writable && (file->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(request, EROFS);
        return;
    }
    int fd = open(name_of(ino).text, (file->flags & (O_ACCMODE | O_APPEND | O_TRUNC)) | O_CLOEXEC);
    if (fd < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    file->fh = fd;
    file->keep_cache = 1;
    fuse_reply_open(request, file);
}

static void do_release(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    (void)ino;
    close(file->fh);
    shared->count[CLOSE]++;
    fuse_reply_err(request, 0);
}

static void do_read(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file) {
    struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);
    (void)ino;
    data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    data.buf[0].fd = file->fh;
    data.buf[0].pos = offset;
    oss(READ, size);
    fuse_reply_data(request, &data, FUSE_BUF_SPLICE_MOVE);
}

static void do_opendir(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    mds(OPENDIR);
    int fd = openat(fd_of(ino), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        fuse_reply_err(request, errno);
        return;
    }
    file->fh = (uint64_t)directory;
    file->keep_cache = 1;
    file->cache_readdir = 1;
    fuse_reply_open(request, file);
}

static void do_readdir(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file) {
    DIR *directory = (DIR *)file->fh;
    struct dirent *entry;
    size_t used = 0;
    char *buffer = malloc(size);
    (void)ino;
    mds(READDIR);
    if (!buffer) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    if (offset != telldir(directory))
        seekdir(directory, offset);
    for (;;) {
        long before = telldir(directory);
        if (!(entry = readdir(directory)))
            break;
        struct stat s = {.st_ino = entry->d_ino, .st_mode = entry->d_type << 12};
        size_t need =
            fuse_add_direntry(request, buffer + used, size - used, entry->d_name, &s, telldir(directory));
        if (need > size - used) {
            seekdir(directory, before);
            break;
        }
        used += need;
    }
    fuse_reply_buf(request, buffer, used);
    free(buffer);
}

static void do_releasedir(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    (void)ino;
    closedir((DIR *)file->fh);
    fuse_reply_err(request, 0);
}

static void do_statfs(fuse_req_t request, fuse_ino_t ino) {
    struct statvfs s;
    mds(STATFS);
    if (fstatvfs(fd_of(ino), &s) < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    /* No other file system of the node has this limit, so a test sees which file system answered. */
    s.f_namemax = 251;
    fuse_reply_statfs(request, &s);
}

/* Replies with the result of a call that filled a buffer; a size of 0 asks only for the length of the value. */
static void reply_value(fuse_req_t request, char *value, size_t size, ssize_t length) {
    if (length < 0)
        fuse_reply_err(request, errno);
    else if (size == 0)
        fuse_reply_xattr(request, length);
    else
        fuse_reply_buf(request, value, length);
}

static void do_getxattr(fuse_req_t request, fuse_ino_t ino, const char *name, size_t size) {
    char value[65536];
    mds(GETXATTR);
    size_t room = size < sizeof value ? size : sizeof value;
    reply_value(request, value, size, getxattr(name_of(ino).text, name, value, room));
}

static void do_listxattr(fuse_req_t request, fuse_ino_t ino, size_t size) {
    char names[65536];
    mds(LISTXATTR);
    size_t room = size < sizeof names ? size : sizeof names;
    reply_value(request, names, size, listxattr(name_of(ino).text, names, room));
}

/* On a mount without -w the kernel never sends the operations that write. */
static const struct fuse_lowlevel_ops operations = {
    .init = do_init,           .lookup = do_lookup,     .getattr = do_getattr,   .readlink = do_readlink,
    .open = do_open,           .release = do_release,   .read = do_read,         .opendir = do_opendir,
    .readdir = do_readdir,     .releasedir = do_releasedir, .statfs = do_statfs, .getxattr = do_getxattr,
    .listxattr = do_listxattr, .setattr = do_setattr,   .create = do_create,     .mknod = do_mknod,
    .mkdir = do_mkdir,         .symlink = do_symlink,   .link = do_link,         .unlink = do_unlink,
    .rmdir = do_rmdir,         .rename = do_rename,     .write_buf = do_write,   .fallocate = do_fallocate,
    .setxattr = do_setxattr,   .removexattr = do_removexattr,
};

static int serve(const char *source, const char *mount_point, int foreground) {
    char options[128];
    struct rlimit files;
    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    /* Only root lets other users into the mount, because anyone else would need an entry in /etc/fuse.conf. */
    snprintf(options, sizeof options, "-o%s,%sdefault_permissions,fsname=mdsfs,subtype=mds", writable ? "rw" : "ro",
             geteuid() == 0 ? "allow_other," : "");
    if (fuse_opt_add_arg(&arguments, "mdsfs") || fuse_opt_add_arg(&arguments, options))
        return 1;
    if ((root.fd = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
        perror(source);
        return 1;
    }
    umask(0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* each struct node holds a descriptor */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
    if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, mount_point))
        return 1;
    if (foreground) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        puts("mounted");
        fflush(stdout);
    } else {
        fuse_daemonize(0);
    }
    struct fuse_loop_config *loop = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(loop, 1);
    fuse_loop_cfg_set_max_threads(loop, 256); /* each waiting request holds a thread */
    fuse_loop_cfg_set_idle_threads(loop, 32);
    int status = fuse_session_loop_mt(session, loop);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return status;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    if (argc == 3 && !strcmp(word, "stat")) {
        long metadata = 0;
        shared = map(argv[2]);
        for (int i = 0; i < OPS; i++) {
            if (i < CLOSE)
                metadata += shared->count[i];
            printf("%s=%ld ", op_names[i], (long)shared->count[i]);
        }
        printf("MDS=%ld\n", metadata);
        return 0;
    }
    if (argc == 3 && !strcmp(word, "reset")) {
        shared = map(argv[2]);
        for (int i = 0; i < OPS; i++)
            shared->count[i] = 0;
        shared->waited_ns = 0;
        return 0;
    }
    if (argc >= 5 && !strcmp(word, "set")) {
        shared = map(argv[2]);
        shared->mds_rate = atol(argv[3]);
        shared->latency_us = atol(argv[4]);
        if (argc > 5)
            shared->oss_rate_mb = atol(argv[5]);
        return 0;
    }
    int option, foreground = 0;
    while ((option = getopt(argc, argv, "+fw")) != -1) {
        if (option == 'f')
            foreground = 1;
        else if (option == 'w')
            writable = 1;
        else
            argc = 0;
    }
    if (argc - optind != 3) {
        fprintf(stderr, "mdsfs [-f] [-w] SRC MNT STATE | stat|reset STATE | set STATE OPS_PER_S LATENCY_US [MB_PER_S]\n");
        return 2;
    }
    whole_seconds = getenv("MDSFS_WHOLE_SECONDS") != NULL;
    if (getenv("MDSFS_TIMEOUT"))
        cache_seconds = atof(getenv("MDSFS_TIMEOUT"));
    shared = map(argv[optind + 2]);
    return serve(argv[optind], argv[optind + 1], foreground);
}
