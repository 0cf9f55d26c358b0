/* Calls the functions of ftw and fts with many flags. */
#include "probe.h"
#include "report.h"
#include <fts.h>
#include <ftw.h>

static const char *const KINDS[] = {"F", "D", "DNR", "NS", "SL", "DP", "SLN"};
static int flags_now, stopping;
static const char *stop_at = "";

static int told(const char *path, const struct stat *s, int kind, const struct FTW *place) {
    struct stat own;
    memset(&own, 0, sizeof own);
    const char *name = path + (place ? place->base : 0);
    int known = 0;
    if (kind != FTW_NS && !(flags_now & FTW_CHDIR))
        known = (flags_now & FTW_PHYS || kind == FTW_SLN ? lstat : stat)(path[0] ? path : "/", &own) == 0 && same(s, &own);
    else if (kind != FTW_NS)
        known = (flags_now & FTW_PHYS || kind == FTW_SLN ? lstat : stat)(name[0] ? name : ".", &own) == 0 && same(s, &own);
    report("%s %s %s level %d known %d %s", path, KINDS[kind], place ? name : "", place ? place->level : -1, known,
           flags_now & FTW_CHDIR ? here() : "");
    return *stop_at && !strcmp(strrchr(path, '/') ? strrchr(path, '/') + 1 : path, stop_at) ? stopping : 0;
}
static int told3(const char *path, const struct stat *s, int kind) { return told(path, s, kind, NULL); }
static int told4(const char *path, const struct stat *s, int kind, struct FTW *place) { return told(path, s, kind, place); }

static void nwalk(const char *top, int open, int flags) {
    flags_now = flags;
    errno = 0;
    int result = nftw(top, told4, open, flags);
    int error = errno;
    say("nftw %s %d %x: %d %s, in %s", top, open, flags, result, result == -1 ? strerror(error) : "", here());
    reports();
}

static void ftws(const char *top) {
    const int opens[] = {1, 3, 20};
    for (int i = 0; i < 3; i++) {
        for (int flags = 0; flags < 32; flags++)
            nwalk(top, opens[i], flags);
        flags_now = 0;
        int result = ftw(top, told3, opens[i]);
        say("ftw %s %d: %d", top, opens[i], result);
        reports();
        result = ftw64(top, (void *)told3, opens[i]);
        say("ftw64 %s %d: %d", top, opens[i], result);
        reports();
        flags_now = FTW_PHYS;
        result = nftw64(top, (void *)told4, opens[i], FTW_PHYS);
        say("nftw64 %s %d: %d", top, opens[i], result);
        reports();
    }
}

PROBE(walking) {
    ftws(P("good"));
    ftws(P("good/"));
    ftws(P("chain"));
    ftws(P("a"));
    ftws(P("dangling"));
    ftws(P("loop1"));
    ftws(P("to-d"));
    ftws(P("nope"));
    ftws(P("a/b"));
    ftws("");
    nwalk(E, 5, FTW_PHYS);
    nwalk(P("loops"), 5, 0);
    nwalk(P("d"), 5, 1 << 10);
}

PROBE(walking_from_inside) {
    CALL(chdir(E));
    ftws("good");
    ftws("./chain//");
    ftws("d/sub/../sub");
    CALL(chdir("good"));
    ftws(".");
    for (int flags = 0; flags < 16; flags++)
        nwalk("..", 3, flags | FTW_PHYS);
    CALL(chdir(M));
    nwalk("env/good", 3, FTW_CHDIR);
    nwalk("env", 3, FTW_PHYS | FTW_DEPTH);
}

/* Ends walks of a chain of directories early. The chain has only one order, so the place at which a walk ends can be
 * compared. */
static void stops(const char *top, const char *at) {
    stop_at = at;
    for (stopping = -1; stopping < 5; stopping++)
        for (int flags = 0; flags < 32; flags++) {
            say("stop at %s with %d", at, stopping);
            nwalk(top, 3, flags);
        }
    stop_at = "";
}
PROBE(stopping) {
    in_order = 1;
    stops(P("chain"), "3");
    stops(P("chain"), "chain");
    stops(P("chain"), "end");
}

/* fts */

static int by_fts_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }
static const char *const INFOS[] = {"?", "D", "DC", "DEFAULT", "DNR", "DOT", "DP", "ERR", "F", "INIT", "NS", "NSOK", "SL", "SLNONE", "W"};

static void entry(FTS *tree, int options, FTSENT *e, const char *which) {
    int known = -1;
    struct stat own;
    if (!(options & FTS_NOSTAT) && e->fts_info != FTS_NS && e->fts_info != FTS_NSOK && !*which)
        known = ((e->fts_info == FTS_SL || e->fts_info == FTS_SLNONE || !(options & FTS_LOGICAL)) ? lstat : stat)(e->fts_accpath, &own) == 0
            && same(&own, e->fts_statp);
    int failed = e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS;
    report("%s%s %s acc %s name %s %d %d level %d known %d errno %s cycle %s number %ld parent %s in %s", which, e->fts_path,
           INFOS[e->fts_info], e->fts_accpath, e->fts_name, e->fts_pathlen, e->fts_namelen, e->fts_level, known,
           failed ? strerror(e->fts_errno) : "-", e->fts_info == FTS_DC ? e->fts_cycle->fts_name : "-", e->fts_number,
           e->fts_parent && e->fts_level > 0 ? e->fts_parent->fts_name : "-", here());
    e->fts_number++;
}

/* What a traversal does at each entry. */
enum { NOTHING, LIST, LIST_NAMES, SKIP, FOLLOW, AGAIN, SKIP_CHILD, FOLLOW_CHILD, MODES };

static void traverse(char *const *paths, int options, int sorted, int mode) {
    in_order = sorted;
    errno = 0;
    FTS *tree = fts_open(paths, options, sorted & 1 ? by_fts_name : NULL);
    say("fts %s options %x %s mode %d: %s", paths[0] ? paths[0] : "-", options, sorted & 1 ? "sorted" : "", mode, tree ? "ok" : strerror(errno));
    if (!tree)
        return;
    if (mode == LIST)
        for (FTSENT *c = fts_children(tree, 0); c; c = c->fts_link)
            report("argument %s %s", c->fts_name, INFOS[c->fts_info]);
    FTSENT *e;
    int n = 0;
    while ((errno = 0, e = fts_read(tree)) && n++ < 3000) {
        entry(tree, options, e, "");
        if ((mode == LIST || mode == LIST_NAMES || mode == SKIP_CHILD || mode == FOLLOW_CHILD) && e->fts_info != FTS_DP) {
            errno = 0;
            FTSENT *c = fts_children(tree, mode == LIST_NAMES ? FTS_NAMEONLY : 0);
            if (!c)
                report("no children: %s, now %s", strerror(errno), e->fts_path);
            for (; c; c = c->fts_link) {
                report("child %s %s %s level %d path %s", c->fts_name, INFOS[c->fts_info], c->fts_accpath, c->fts_level, in_order ? c->fts_path : "");
                if (mode == SKIP_CHILD && !strcmp(c->fts_name, "sub"))
                    CALL(fts_set(tree, c, FTS_SKIP));
                if (mode == FOLLOW_CHILD && c->fts_info == FTS_SL)
                    CALL(fts_set(tree, c, FTS_FOLLOW));
            }
        }
        if (mode == SKIP && e->fts_info == FTS_D && !strcmp(e->fts_name, "sub"))
            fts_set(tree, e, FTS_SKIP);
        if (mode == FOLLOW && (e->fts_info == FTS_SL || e->fts_info == FTS_SLNONE) && e->fts_number < 2)
            fts_set(tree, e, FTS_FOLLOW);
        if (mode == AGAIN && e->fts_number == 1)
            fts_set(tree, e, FTS_AGAIN);
    }
    int error = errno;
    reports();
    say("end: %s", strerror(error));
    CALL(fts_close(tree));
    say("in %s", here());
    in_order = 0;
}

static void traversals(char *const *paths, int options_of_all) {
    const int bits[] = {0, FTS_NOSTAT, FTS_SEEDOT, FTS_XDEV, FTS_COMFOLLOW, FTS_NOSTAT | FTS_SEEDOT | FTS_COMFOLLOW};
    for (int logical = 0; logical < 2; logical++)
        for (size_t b = 0; b < sizeof bits / sizeof *bits; b++)
            /* libc sets no device for an argument that is a link, so FTS_XDEV excludes FOLLOW and later modes. */
            for (int mode = 0; mode < (bits[b] & ~FTS_NOSTAT ? FOLLOW : MODES); mode++)
                for (int sorted = 1; sorted >= (mode == NOTHING && !logical ? 0 : 1); sorted--)
                    traverse(paths, options_of_all | bits[b] | (logical ? FTS_LOGICAL : FTS_PHYSICAL), sorted, mode);
}

#define PATHS(...) ((char *[]){__VA_ARGS__, NULL})

static void all_traversals(int options) {
    traversals(PATHS((char *)P("good")), options);
    traversals(PATHS((char *)P("to-d"), (char *)P("nope"), (char *)P("a"), (char *)P("good/sub/"), (char *)P("dangling")), options);
    traversals(PATHS((char *)P("chain"), (char *)P("linked")), options);
    traverse(PATHS((char *)E), options | FTS_PHYSICAL, 1, NOTHING);
    traverse(PATHS((char *)E), options | FTS_LOGICAL, 1, NOTHING);
    traverse(PATHS((char *)P("a"), ""), options | FTS_PHYSICAL, 1, NOTHING);
    traverse(PATHS((char *)P("a")), 1 << 10, 1, NOTHING);
}
PROBE(traversing) { all_traversals(FTS_NOCHDIR); }
PROBE(traversing_in_the_directories) { all_traversals(0); }
PROBE(traversing_from_inside) {
    CALL(chdir(E));
    for (int options = 0; options <= FTS_NOCHDIR; options += FTS_NOCHDIR) {
        traversals(PATHS("good", "./d//", "full/../lib64"), options);
        traverse(PATHS("."), options | FTS_PHYSICAL, 1, NOTHING);
        traverse(PATHS("empty", "."), options | FTS_PHYSICAL | FTS_SEEDOT, 1, LIST);
        traverse(PATHS("../env/d", ".."), options | FTS_PHYSICAL, 1, NOTHING);
    }
}

#define TRAVERSES64(path, options)                                                                                     \
    ({                                                                                                                 \
        FTS64 *tree = fts64_open(PATHS((char *)path), options, NULL);                                                  \
        FTSENT64 *e;                                                                                                   \
        report("first %s", fts64_children(tree, 0)->fts_name);                                                         \
        while ((e = fts64_read(tree))) {                                                                               \
            report("%s %s", e->fts_path, INFOS[e->fts_info]);                                                          \
            CALL(fts64_set(tree, e, FTS_NOINSTR));                                                                     \
            for (FTSENT64 *child = fts64_children(tree, 0); child; child = child->fts_link)                            \
                report("child %s of %s", child->fts_name, e->fts_name);                                                \
        }                                                                                                              \
        reports();                                                                                                     \
        CALL(fts64_close(tree));                                                                                       \
        say("in %s", here());                                                                                          \
    })
PROBE(traversing64) {
    TRAVERSES64(P("good"), FTS_PHYSICAL | FTS_NOCHDIR);
    TRAVERSES64(P("linked"), FTS_LOGICAL);
    CALL(chdir(E));
    TRAVERSES64("good", FTS_PHYSICAL);
}

/* Changes the tree, makes a directory unreadable, and walks both. */
PROBE(changed) {
    write_file(P("good/new"), "new");
    CALL(mkdir(P("good/sub/made"), 0755));
    write_file(P("good/sub/made/deep"), "x");
    CALL(unlink(P("good/f")));
    CALL(rename(P("d"), P("good/moved")));
    CALL(symlink("new", P("good/to-new")));
    CALL(mkfifo(P("good/fifo"), 0644));
    CALL(chmod(P("closed"), 0));
    for (int flags = 0; flags < 16; flags++) {
        nwalk(P("good"), 2, flags);
        nwalk(P("closed"), 2, flags);
        nwalk(E, 2, flags | FTW_PHYS);
    }
    traversals(PATHS((char *)P("good"), (char *)P("closed")), 0);
    traversals(PATHS((char *)P("good"), (char *)P("closed")), FTS_NOCHDIR);
    CALL(chmod(P("closed"), 0755));
}

/* Walks from a directory above an empty prefix. Every call passes, so the names must come in the order of libc's own walk. */
PROBE(beside) {
    CALL(chdir(E));
    setenv("E", B("out/rich"), 1);
    in_order = 1;
    for (int flags = 0; flags < 32; flags++) {
        nwalk(M, 1, flags);
        nwalk("..", 3, flags);
    }
    for (int options = 0; options <= FTS_NOCHDIR; options += FTS_NOCHDIR)
        for (int mode = 0; mode < MODES; mode++)
            for (int logical = 0; logical < 2; logical++)
                for (int sorted = 0; sorted < 2; sorted++) {
                    int nostat = sorted ? 0 : FTS_NOSTAT;
                    traverse(PATHS((char *)M), options | nostat | (logical ? FTS_LOGICAL : FTS_PHYSICAL), 2 + sorted, mode);
                }
}

/* Changes the working directory in a callback. The walk must continue, because it uses its own descriptors. */
static int wanders(const char *path, const struct stat *s, int kind, struct FTW *place) {
    report("%s %s level %d", path, KINDS[kind], place->level);
    return chdir("/");
}
PROBE(wandering) {
    CALL(chdir(E));
    CALL(nftw("good", wanders, 20, FTW_PHYS));
    reports();
}

/* Walks more nested directories than the shim's table of streams has places. */
PROBE(deep) {
    nwalk(P("deep"), 5, FTW_PHYS);
    nwalk(P("deep"), 40, FTW_PHYS | FTW_DEPTH);
    traverse(PATHS((char *)P("deep")), FTS_PHYSICAL | FTS_NOCHDIR, 1, NOTHING);
    traverse(PATHS((char *)P("deep")), FTS_PHYSICAL, 1, NOTHING);
}
