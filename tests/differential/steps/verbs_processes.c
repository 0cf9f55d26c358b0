/*
 * Performs the verbs that change the process or its surroundings, or start another process.
 */
#include "steps.h"

#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

int perform_on_process(const char *verb) {
    if (!strcmp(verb, "chdir"))
        worked(chdir(text(1)));
    VERB("fchdir") worked(fchdir(at(1)));
    VERB("getcwd") { if (getcwd(buffer, PATH_MAX)) say("%s", buffer); else result(-1); }
    VERB("umask") say("%o", umask(octal(1)));
    VERB("seteuid") worked(seteuid(number(1)));
    VERB("setegid") worked(setegid(number(1)));
    VERB("setfsuid") say("%d", setfsuid(number(1)));
    VERB("setgroups") { gid_t groups[1] = {number(1)}; worked(setgroups(count > 1, groups)); }
    VERB("setuid") worked(setuid(number(1)));
    VERB("chroot") worked(chroot(text(1)));
    VERB("mount") worked(mount(text(1), text(2), NULL, MS_BIND, NULL));
    VERB("tmpfs") worked(mount("tmpfs", text(1), "tmpfs", 0, "mode=755"));
    VERB("umount") worked(umount2(text(1), MNT_DETACH));
    VERB("nofile") {
        struct rlimit limit = {number(1), number(1)};
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = number(1);
        worked(setrlimit(RLIMIT_NOFILE, &limit));
    }
    VERB("memory") {
        /* The word is the limit of the address space in kilobytes. */
        struct rlimit limit;
        getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = number(1) ? (rlim_t)number(1) << 10 : limit.rlim_max;
        worked(setrlimit(RLIMIT_AS, &limit));
    }
    VERB("fsize") {
        struct rlimit limit;
        getrlimit(RLIMIT_FSIZE, &limit);
        limit.rlim_cur = number(1);
        signal(SIGXFSZ, SIG_IGN);
        worked(setrlimit(RLIMIT_FSIZE, &limit));
    }
    VERB("unshare") worked(unshare(CLONE_FS));
    VERB("run") run(1);
    VERB("exec") go_on_in(NULL, !strcmp(raw(1), "self") ? self : text(1));
    VERB("peer") start_peer(number(1));
    VERB("fork") fork_block();
    VERB("static") static_block();
    VERB("thread") {
        pthread_t thread;
        say("in the thread");
        answer();
        if (pthread_create(&thread, NULL, thread_block, NULL)) {
            say("no thread");
            return 1;
        }
        pthread_join(thread, NULL);
        say("joined");
    }
    VERB("?") say_state();
    VERB("#") say(" ");
    else
        return 0;
    return 1;
}
