/*
 * calls ROUNDS CALLS (OPERATION PATH)…: measures the time of one call, in nanoseconds, for each pair of operation and
 * path. A round makes CALLS calls and gives their mean time. The program prints the least and the median of the means
 * of ROUNDS rounds. With ROUNDS 0 the program makes CALLS calls of the first pair and measures no time, so that
 * valgrind can count the instructions.
 *
 * If CALLS_REFUSED is set in the environment, a seccomp filter refuses the measured system calls on entry to the
 * kernel. The kernel then walks no path. The time of a walk varies by more than a hook in user space takes, so only
 * this measurement shows the cost of the hook.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct stat st;
static char text[4096];
static int held;

static void do_stat(const char *path) { stat(path, &st); }
static void do_lstat(const char *path) { lstat(path, &st); }
static void do_fstat(const char *path) { (void)path; fstat(held, &st); }
static void do_access(const char *path) { access(path, R_OK); }
static void do_readlink(const char *path) { if (readlink(path, text, sizeof text) < 0) errno = 0; }
static void do_open(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) close(fd);
}
static void do_opendir(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return;
    while (readdir(dir)) {}
    closedir(dir);
}

static const struct { const char *name; void (*call)(const char *); } operations[] = {
    {"stat", do_stat}, {"lstat", do_lstat}, {"fstat", do_fstat}, {"access", do_access},
    {"readlink", do_readlink}, {"open", do_open}, {"opendir", do_opendir},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#define REFUSE(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOENT)

static void refuse(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(SYS_newfstatat), REFUSE(SYS_openat), REFUSE(SYS_faccessat), REFUSE(SYS_readlinkat),
#ifdef SYS_open
        REFUSE(SYS_open), REFUSE(SYS_access), REFUSE(SYS_readlink),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("seccomp");
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    if (getenv("CALLS_REFUSED")) refuse();
    int rounds = atoi(argv[1]), calls = atoi(argv[2]);
    double *times = calloc(rounds + 1, sizeof *times);
    for (int i = 3; i + 1 < argc; i += 2) {
        void (*call)(const char *) = NULL;
        for (size_t k = 0; k < sizeof operations / sizeof *operations; k++)
            if (!strcmp(operations[k].name, argv[i])) call = operations[k].call;
        if (!call) return 2;
        const char *path = argv[i + 1];
        held = open(path, O_RDONLY);
        if (!rounds) {
            for (int n = 0; n < calls; n++) call(path);
            return 0;
        }
        for (int r = 0; r < rounds; r++) {
            double begun = now();
            for (int n = 0; n < calls; n++) call(path);
            times[r] = (now() - begun) / calls;
        }
        close(held);
        qsort(times, rounds, sizeof *times, compare);
        printf("%.1f %.1f\n", times[0], times[rounds / 2]);
    }
    return 0;
}
