/* damage TREE: reads every path of a tree by many functions, and prints the results. The program is small, because the
   test starts it thousands of times, each time with different damage to the stage. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static void show(const char *call, const char *path, int r, const struct stat *s) {
    if (r) printf("%s %s: %d\n", call, path, errno);
    else printf("%s %s: %lu %lu %o %u:%u %lu %ld %ld.%09ld\n", call, path, s->st_dev, s->st_ino, s->st_mode, s->st_uid,
                s->st_gid, s->st_nlink, s->st_size, s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void look(const char *path) {
    struct stat s;
    char text[4096];
    show("lstat", path, lstat(path, &s), &s);
    show("stat", path, stat(path, &s), &s);
    printf("access %d %d\n", access(path, R_OK), access(path, X_OK));
    ssize_t n = readlink(path, text, sizeof text);
    printf("readlink %zd %.*s\n", n, n > 0 ? (int)n : 0, text);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) printf("open %d\n", errno);
    else {
        show("fstat", path, fstat(fd, &s), &s);
        n = read(fd, text, sizeof text);
        printf("read %zd %.*s\n", n, n > 0 ? (int)n : 0, text);
        close(fd);
    }
    n = llistxattr(path, text, sizeof text);
    printf("xattrs %zd %.*s\n", n, n > 0 ? (int)n : 0, text);
}

static void walk(const char *path) {
    look(path);
    struct dirent **list, *d;
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir) { printf("opendir %d\n", errno); return; }
    while ((d = readdir(dir))) n++;
    closedir(dir);
    printf("%d names\n", n);
    n = scandir(path, &list, 0, (int (*)(const struct dirent **, const struct dirent **))by_name);
    for (int i = 0; i < n; i++) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%s", path, list[i]->d_name);
        if (!strcmp(list[i]->d_name, ".") || !strcmp(list[i]->d_name, "..")) continue;
        printf("%s %lu %d\n", below, list[i]->d_ino, list[i]->d_type);
        if (list[i]->d_type == DT_DIR) walk(below);
        else look(below);
        free(list[i]);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    char path[4096];
    walk(argv[1]);
    const char *odd[] = {"nope", "f1/x", "d1/nope", "d1/../f1", "ld/g1", "ld/nope", "d1/", "./f2", "nope/x"};
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
        snprintf(path, sizeof path, "%s/%s", argv[1], odd[i]);
        look(path);
    }
    if (!chdir(argv[1])) look("f1"), look("d1/../nope");
    return 0;
}
