/*
 * mdswrite.h: implements the operations of a writable mount. Each operation changes the backing directory before it
 * replies.
 *
 * Invariants: the kernel checks permissions (default_permissions) before it sends a request, and applies the umask. A
 * new file belongs to the user who made it. The kernel keeps the locks, which only the processes of one mount see.
 */
#include <sys/xattr.h>

static void reply(fuse_req_t request, int result) { fuse_reply_err(request, result < 0 ? errno : 0); }

/* Makes the caller the owner of a new file, as a file system does; -1 with errno on failure. */
static int own(fuse_req_t request, fuse_ino_t parent, const char *name) {
    const struct fuse_ctx *caller = fuse_req_ctx(request);
    struct stat s;
    if (geteuid() != 0)
        return 0;
    if (fstat(fd_of(parent), &s) < 0)
        return -1;
    return fchownat(fd_of(parent), name, caller->uid, s.st_mode & S_ISGID ? s.st_gid : caller->gid, AT_SYMLINK_NOFOLLOW);
}

/* Replies with the entry of a new name, or with errno if `result` says that making it failed. */
static void made(fuse_req_t request, fuse_ino_t parent, const char *name, int result) {
    struct fuse_entry_param entry = {.attr_timeout = cache_seconds, .entry_timeout = cache_seconds, .generation = 1};
    if (result < 0 || own(request, parent, name) < 0
        || !(entry.ino = (fuse_ino_t)node_at(fd_of(parent), name, &entry.attr)))
        fuse_reply_err(request, errno);
    else
        fuse_reply_entry(request, &entry);
}

static void do_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
    mds(MKNOD);
    made(request, parent, name, mknodat(fd_of(parent), name, mode, device));
}

static void do_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
    mds(MKDIR);
    made(request, parent, name, mkdirat(fd_of(parent), name, mode));
}

static void do_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name) {
    mds(SYMLINK);
    made(request, parent, name, symlinkat(target, fd_of(parent), name));
}

static void do_link(fuse_req_t request, fuse_ino_t ino, fuse_ino_t parent, const char *name) {
    struct fuse_entry_param entry = {.attr_timeout = cache_seconds, .entry_timeout = cache_seconds, .generation = 1};
    mds(LINK);
    if (linkat(AT_FDCWD, name_of(ino).text, fd_of(parent), name, AT_SYMLINK_FOLLOW) < 0
        || !(entry.ino = (fuse_ino_t)node_at(fd_of(parent), name, &entry.attr)))
        fuse_reply_err(request, errno);
    else
        fuse_reply_entry(request, &entry);
}

static void do_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
    mds(UNLINK);
    reply(request, unlinkat(fd_of(parent), name, 0));
}

static void do_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name) {
    mds(RMDIR);
    reply(request, unlinkat(fd_of(parent), name, AT_REMOVEDIR));
}

static void do_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags) {
    mds(RENAME);
    reply(request, renameat2(fd_of(parent), name, fd_of(new_parent), new_name, flags));
}

static void do_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file) {
    struct fuse_entry_param entry = {.attr_timeout = cache_seconds, .entry_timeout = cache_seconds, .generation = 1};
    mds(CREATE);
    int fd = openat(fd_of(parent), name, (file->flags | O_CREAT | O_CLOEXEC) & ~O_NOFOLLOW, mode);
    if (fd < 0 || own(request, parent, name) < 0
        || !(entry.ino = (fuse_ino_t)node_at(fd_of(parent), name, &entry.attr))) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        fuse_reply_err(request, error);
        return;
    }
    file->fh = fd;
    file->keep_cache = 1;
    fuse_reply_create(request, &entry, file);
}

static void do_setattr(fuse_req_t request, fuse_ino_t ino, struct stat *to, int what, struct fuse_file_info *file) {
    struct name name = name_of(ino);
    struct stat s;
    int result = 0;
    mds(SETATTR);
    if (what & FUSE_SET_ATTR_MODE)
        result = chmod(name.text, to->st_mode);
    if (result == 0 && what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        result = fchownat(fd_of(ino), "", what & FUSE_SET_ATTR_UID ? to->st_uid : (uid_t)-1,
                          what & FUSE_SET_ATTR_GID ? to->st_gid : (gid_t)-1, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    if (result == 0 && what & FUSE_SET_ATTR_SIZE)
        result = file ? ftruncate(file->fh, to->st_size) : truncate(name.text, to->st_size);
    if (result == 0 && what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
        if (what & FUSE_SET_ATTR_ATIME)
            times[0] = what & FUSE_SET_ATTR_ATIME_NOW ? (struct timespec){.tv_nsec = UTIME_NOW} : to->st_atim;
        if (what & FUSE_SET_ATTR_MTIME)
            times[1] = what & FUSE_SET_ATTR_MTIME_NOW ? (struct timespec){.tv_nsec = UTIME_NOW} : to->st_mtim;
        result = utimensat(AT_FDCWD, name.text, times, 0);
    }
    if (result < 0 || attributes_of(fd_of(ino), &s) < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_attr(request, &s, cache_seconds);
}

static void do_write(fuse_req_t request, fuse_ino_t ino, struct fuse_bufvec *from, off_t offset,
                     struct fuse_file_info *file) {
    struct fuse_bufvec to = FUSE_BUFVEC_INIT(fuse_buf_size(from));
    (void)ino;
    to.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    to.buf[0].fd = file->fh;
    to.buf[0].pos = offset;
    oss(WRITE, to.buf[0].size);
    ssize_t done = fuse_buf_copy(&to, from, 0);
    if (done < 0)
        fuse_reply_err(request, -done);
    else
        fuse_reply_write(request, done);
}

static void do_fallocate(fuse_req_t request, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *file) {
    (void)ino;
    reply(request, fallocate(file->fh, mode, offset, length));
}

static void do_setxattr(fuse_req_t request, fuse_ino_t ino, const char *name, const char *value, size_t size,
                        int flags) {
    mds(SETXATTR);
    reply(request, setxattr(name_of(ino).text, name, value, size, flags));
}

static void do_removexattr(fuse_req_t request, fuse_ino_t ino, const char *name) {
    mds(REMOVEXATTR);
    reply(request, removexattr(name_of(ino).text, name));
}
