/*
 * mdsfs: a stand-in for a parallel file system whose metadata server is slow and shared by all nodes.
 *
 *   mdsfs SRC MNT STATE                              mounts SRC read-only on MNT, in the background
 *   mdsfs set STATE OPS_PER_S LATENCY_US [MB_PER_S]  0 = no limit
 *   mdsfs stat STATE | reset STATE                   prints or clears the counters
 *
 * STATE is a file that every mount maps: it holds one queue for metadata, one for data, and the counters of all nodes
 * together. Mount once in each node: each then has a kernel cache of its own, kept for $MDSFS_TIMEOUT seconds
 * (default 60; 0: none). Directory listings carry no attributes.
 *
 * Must stay true: every request that a metadata server would see passes mds() exactly once, whatever its result.
 * Built by build-mdsfs.sh.
 */
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "mdsqueue.h"

static double cache_seconds = 60;

/* An inode number is the address of its node; nodes live as long as the mount. */
struct node {
    char *path;
};
static struct node root;
static void *nodes;
static pthread_mutex_t nodes_lock = PTHREAD_MUTEX_INITIALIZER;

static int compare(const void *a, const void *b) {
    return strcmp(((const struct node *)a)->path, ((const struct node *)b)->path);
}

static struct node *node_of(fuse_ino_t ino) { return ino == FUSE_ROOT_ID ? &root : (struct node *)ino; }

static struct node *node_for(char *path) {
    struct node key = {path}, *node = NULL;
    pthread_mutex_lock(&nodes_lock);
    struct node **found = tfind(&key, &nodes, compare);
    if (found) {
        node = *found;
    } else if ((node = malloc(sizeof *node)) && (node->path = strdup(path))) {
        tsearch(node, &nodes, compare);
    }
    pthread_mutex_unlock(&nodes_lock);
    return node;
}

static void do_init(void *user, struct fuse_conn_info *connection) {
    (void)user;
    if (connection->capable & FUSE_CAP_SPLICE_WRITE)
        connection->want |= FUSE_CAP_SPLICE_WRITE;
    connection->want &= ~FUSE_CAP_READDIRPLUS;
    connection->max_background = 64;
}

static void do_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    char path[4096];
    struct fuse_entry_param entry = {.attr_timeout = cache_seconds, .entry_timeout = cache_seconds};
    snprintf(path, sizeof path, "%s/%s", node_of(parent)->path, name);
    if (lstat(path, &entry.attr) < 0) {
        int error = errno;
        mds(NEGATIVE);
        if (error == ENOENT)
            fuse_reply_entry(request, &entry); /* inode 0: the kernel remembers that it is not there */
        else
            fuse_reply_err(request, error);
        return;
    }
    mds(LOOKUP);
    struct node *node = node_for(path);
    if (!node) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    entry.ino = (fuse_ino_t)node;
    entry.generation = 1;
    fuse_reply_entry(request, &entry);
}

static void do_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    struct stat s;
    (void)file;
    mds(GETATTR);
    if (lstat(node_of(ino)->path, &s) < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_attr(request, &s, cache_seconds);
}

static void do_readlink(fuse_req_t request, fuse_ino_t ino) {
    char target[4097];
    mds(READLINK);
    ssize_t length = readlink(node_of(ino)->path, target, sizeof target - 1);
    if (length < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    target[length] = 0;
    fuse_reply_readlink(request, target);
}

static void do_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    mds(OPEN);
    if ((file->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(request, EROFS);
        return;
    }
    int fd = open(node_of(ino)->path, O_RDONLY | O_CLOEXEC);
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
    oss(size);
    fuse_reply_data(request, &data, FUSE_BUF_SPLICE_MOVE);
}

static void do_opendir(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    mds(OPENDIR);
    DIR *directory = opendir(node_of(ino)->path);
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
    if (statvfs(node_of(ino)->path, &s) < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_statfs(request, &s);
}

static const struct fuse_lowlevel_ops operations = {
    .init = do_init,         .lookup = do_lookup,   .getattr = do_getattr, .readlink = do_readlink,
    .open = do_open,         .release = do_release, .read = do_read,       .opendir = do_opendir,
    .readdir = do_readdir,   .releasedir = do_releasedir, .statfs = do_statfs,
};

static int serve(const char *source, const char *mount_point) {
    char *words[] = {"mdsfs", "-o", "ro,allow_other,default_permissions,fsname=mdsfs,subtype=mds", NULL};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, words);
    if (!(root.path = realpath(source, NULL))) {
        perror(source);
        return 1;
    }
    struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
    if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, mount_point))
        return 1;
    fuse_daemonize(0);
    struct fuse_loop_config *loop = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(loop, 1);
    fuse_loop_cfg_set_max_threads(loop, 256); /* each waiting request holds one */
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
        for (int i = 0; i < 16; i++)
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
    if (argc != 4) {
        fprintf(stderr, "mdsfs SRC MNT STATE | stat|reset STATE | set STATE OPS_PER_S LATENCY_US [MB_PER_S]\n");
        return 2;
    }
    if (getenv("MDSFS_TIMEOUT"))
        cache_seconds = atof(getenv("MDSFS_TIMEOUT"));
    shared = map(argv[3]);
    return serve(argv[1], argv[2]);
}
