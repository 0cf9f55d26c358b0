/*
 * A library to preload that counts the calls of each function of preload/exports.txt and passes them on, as a profiler does.
 * behind_report() prints the counts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

#define FUNCTIONS(F) \
    F(__fcntl) F(__open) F(__open64) F(__open64_2) F(__open_2) F(__openat64_2) F(__openat_2) F(__readlink_chk) \
    F(__readlinkat_chk) F(__realpath_chk) F(__setmntent) F(access) F(bind) F(bindtextdomain) F(canonicalize_file_name) \
    F(capset) F(catopen) F(chmod) F(chown) F(chroot) F(closedir) F(creat) F(creat64) F(dladdr) F(dlerror) F(dlmopen) \
    F(dlopen) F(eaccess) F(euidaccess) F(execveat) F(faccessat) F(fchdir) F(fchmod) F(fchmodat) F(fchown) F(fchownat) \
    F(fcntl) F(fcntl64) F(fdopendir) F(fgetxattr) F(flistxattr) F(flock) F(fopen) F(fopen64) F(fpathconf) \
    F(fremovexattr) F(freopen) F(freopen64) F(fsetxattr) F(fstat) F(fstat64) F(fstatat) F(fstatat64) F(fstatfs) \
    F(fstatfs64) F(fstatvfs) F(fstatvfs64) F(ftok) F(fts_close) F(fts_open) F(fts_read) F(ftw) F(ftw64) F(futimens) \
    F(futimes) F(futimesat) F(get_current_dir_name) F(getdents64) F(getxattr) F(glob64) F(initgroups) \
    F(inotify_add_watch) F(ioctl) F(lchown) F(lgetxattr) F(link) F(linkat) F(listxattr) F(llistxattr) \
    F(lockf) F(lockf64) F(lremovexattr) F(lsetxattr) F(lstat) F(lstat64) F(lutimes) F(mkdir) F(mkdirat) F(mkdtemp) \
    F(mkfifo) F(mkfifoat) F(mknod) F(mknodat) F(mkostemp) F(mkostemp64) F(mkostemps) F(mkostemps64) F(mkstemp) \
    F(mkstemp64) F(mkstemps) F(mkstemps64) F(mount) F(name_to_handle_at) F(nftw) F(nftw64) F(open) F(open64) F(openat) \
    F(openat64) F(opendir) F(pathconf) F(posix_spawn) F(posix_spawn_file_actions_addopen) F(readdir) F(readdir64) \
    F(readlink) F(readlinkat) F(realpath) F(remove) F(removexattr) F(rename) F(renameat) F(renameat2) F(rewinddir) \
    F(rmdir) F(scandir) F(scandir64) F(scandirat) F(setegid) F(seteuid) F(setfsgid) F(setfsuid) F(setgid) F(setgroups) \
    F(setmntent) F(setns) F(setregid) F(setresgid) F(setresuid) F(setreuid) F(setuid) F(setxattr) F(stat) F(stat64) \
    F(statfs) F(statfs64) F(statvfs) F(statvfs64) F(statx) F(symlink) F(symlinkat) F(truncate) F(truncate64) F(umount) \
    F(umount2) F(unlink) F(unlinkat) F(unshare) F(utime) F(utimensat) F(utimes) F(wordexp)

#ifdef __x86_64__
#define COUNT(name) "lock incq behind_n_" name "(%rip)\n jmp *behind_r_" name "(%rip)\n"
#else
#define COUNT(name) \
    "adrp x16, behind_n_" name "\n add x16, x16, :lo12:behind_n_" name "\n ldr x17, [x16]\n add x17, x17, #1\n" \
    "str x17, [x16]\n adrp x16, behind_r_" name "\n ldr x16, [x16, :lo12:behind_r_" name "]\n br x16\n"
#endif
#define DEFINE(name) \
    __attribute__((visibility("hidden"))) unsigned long behind_n_##name; \
    __attribute__((visibility("hidden"))) void *behind_r_##name; \
    __asm__(".globl " #name "\n.type " #name ", %function\n" #name ":\n" COUNT(#name));
FUNCTIONS(DEFINE)

__attribute__((constructor)) static void find(void) {
#define FIND(name) behind_r_##name = dlsym(RTLD_NEXT, #name);
    FUNCTIONS(FIND)
}

void behind_report(void) {
#define REPORT(name) if (behind_n_##name) printf("  %s %lu\n", #name, behind_n_##name); behind_n_##name = 0;
    FUNCTIONS(REPORT)
    fflush(stdout);
}
