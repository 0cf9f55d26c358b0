/*
 * mdsnode.h: keeps a node, with a descriptor of the backing file, for each file that the kernel knows.
 *
 * Invariants: a backing file has one node, even if it has several names. So hard links are one file, and a rename changes
 * no node. Nodes live as long as the mount. A node's descriptor keeps the file's inode number from being used again.
 */
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* An inode number of the mount is the address of its node. */
struct node {
    dev_t dev;
    ino_t ino;
    int fd; /* O_PATH */
};
static struct node root;

static int fd_of(fuse_ino_t ino) { return ino == FUSE_ROOT_ID ? root.fd : ((struct node *)ino)->fd; }

/* The path of a node's descriptor in /proc/self/fd, for calls that take no O_PATH descriptor. The path leads to the node's
 * file, even if the file is a symbolic link. */
struct name {
    char text[32];
};
static struct name name_of(fuse_ino_t ino) {
    struct name name;
    snprintf(name.text, sizeof name.text, "/proc/self/fd/%d", fd_of(ino));
    return name;
}

/* fstat. If $MDSFS_WHOLE_SECONDS is set, the times are whole seconds, as on Lustre and older file systems. */
static int attributes_of(int fd, struct stat *s) {
    if (fstat(fd, s) < 0)
        return -1;
    if (whole_seconds)
        s->st_atim.tv_nsec = s->st_mtim.tv_nsec = s->st_ctim.tv_nsec = 0;
    return 0;
}

static int node_compare(const void *a, const void *b) {
    const struct node *x = a, *y = b;
    return x->dev != y->dev ? (x->dev < y->dev ? -1 : 1) : x->ino != y->ino ? (x->ino < y->ino ? -1 : 1) : 0;
}

/* Returns the node of a name in a directory and fills in the node's attributes; NULL with errno on failure. */
static struct node *node_at(int parent, const char *name, struct stat *s) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static void *nodes;
    struct node *node = malloc(sizeof *node), **found;
    if (!node)
        return NULL;
    node->fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (node->fd < 0 || attributes_of(node->fd, s) < 0) {
        int error = errno;
        if (node->fd >= 0)
            close(node->fd);
        free(node);
        errno = error;
        return NULL;
    }
    node->dev = s->st_dev;
    node->ino = s->st_ino;
    pthread_mutex_lock(&lock);
    found = tsearch(node, &nodes, node_compare);
    pthread_mutex_unlock(&lock);
    if (!found || *found != node) {
        close(node->fd);
        free(node);
    }
    if (!found)
        errno = ENOMEM;
    return found ? *found : NULL;
}
