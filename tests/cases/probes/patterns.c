/* Calls glob and wordexp with many patterns and flags. */
#include "probe.h"
#include "report.h"
#include <glob.h>
#include <wordexp.h>

static int on_error_result;
static int on_error(const char *path, int error) {
    report("error %s: %s", path, strerror(error));
    return on_error_result;
}

static void found(const char *what, const glob_t *g, int status) {
    const char *const results[] = {"ok", "NOSPACE", "ABORTED", "NOMATCH"};
    in_order || (reports(), 0);
    say("%s: %s", what, status < 0 ? strerror(errno) : results[status]);
    if (status)
        return;
    say("  %zu names, %zu before, flags %x", g->gl_pathc, g->gl_offs, g->gl_flags);
    for (size_t i = 0; i < g->gl_offs; i++)
        if (g->gl_pathv[i])
            say("  not null");
    for (size_t i = 0; i < g->gl_pathc; i++)
        report("%s", g->gl_pathv[g->gl_offs + i]);
    if (g->gl_pathv[g->gl_offs + g->gl_pathc])
        say("  not ended");
}

static const struct {
    int flags;
    const char *name;
} GLOBS[] = {
    {0, "0"},
    {GLOB_MARK, "MARK"},
    {GLOB_NOSORT, "NOSORT"},
    {GLOB_NOCHECK, "NOCHECK"},
    {GLOB_NOMAGIC, "NOMAGIC"},
    {GLOB_NOESCAPE | GLOB_NOCHECK, "NOESCAPE NOCHECK"},
    {GLOB_PERIOD | GLOB_MARK, "PERIOD MARK"},
    {GLOB_BRACE, "BRACE"},
    {GLOB_BRACE | GLOB_NOCHECK | GLOB_MARK, "BRACE NOCHECK MARK"},
    {GLOB_TILDE, "TILDE"},
    {GLOB_TILDE_CHECK | GLOB_ERR, "TILDE_CHECK ERR"},
    {GLOB_ONLYDIR, "ONLYDIR"},
    {GLOB_ONLYDIR | GLOB_PERIOD | GLOB_NOSORT, "ONLYDIR PERIOD NOSORT"},
    {GLOB_DOOFFS | GLOB_ERR, "DOOFFS ERR"},
};

static const char *const PATTERNS[] = {
    "*", ".*", "*/", "*/*", "*/*/*", "{a,d/*,nope}", "{a,d}*", "[a-d]*", "[!a-d]*", "d/../*", "./*", "no*such", "a", "nope", "dangling",
    "dang*", "dangling/*", "loop1", "loop*", "loop1/*", "lib64/*", "to-d/*", "to-d/*/", "outside-dir/*", "outside*", "abs-*",
    "*closed*/*", "closed/*", "\\*star", "\\**", "*\\ *", "*\\\\*", "[", "a[", "", "*sub*/", "full//[0-9]", "d/sub/c",
    "d/sub/c/", "a/", "a/*", "a/b", "empty/*", "empty/.*", "?", "??", "*[", "{", "d/{b,sub/{c,x}}", "*/../a", "*/.h*",
    "w?th space/*", "nope/*", "*\n*", "lib*/os.*", "to-a*", "~", "~/*", "~nobody-here/*",
};

static void patterns(const char *in, const char *before) {
    for (size_t f = 0; f < sizeof GLOBS / sizeof *GLOBS; f++)
        for (size_t p = 0; p < sizeof PATTERNS / sizeof *PATTERNS; p++) {
            char pattern[8192], what[16384];
            int absolute = PATTERNS[p][0] != '~' && before[0];
            snprintf(pattern, sizeof pattern, "%s%s", absolute ? before : "", PATTERNS[p]);
            snprintf(what, sizeof what, "in %s %s %s", in, GLOBS[f].name, pattern);
            glob_t g;
            memset(&g, 0x55, sizeof g);
            g.gl_offs = 3;
            glob_t was = g;
            int status = glob(pattern, GLOBS[f].flags, f % 3 ? on_error : NULL, &g);
            found(what, &g, status);
            if (memcmp(&g.gl_closedir, &was.gl_closedir, sizeof g - offsetof(glob_t, gl_closedir)))
                say("  the functions changed");
            if (status == 0)
                globfree(&g);
        }
    reports();
}

static char with_slash[8192];
PROBE(patterns) {
    setenv("HOME", P("d"), 1);
    snprintf(with_slash, sizeof with_slash, "%s/", E);
    patterns("/", with_slash);
    on_error_result = 1;
    CALL(chdir(E));
    patterns("env", "");
    CALL(chdir("full/sub"));
    patterns("full/sub", "../../");
    CALL(chdir(M));
    patterns("M", "env/");
    patterns("M", "./env/../env//");
}

static void one(const char *pattern, int flags) {
    glob_t g = {0};
    char what[8192];
    snprintf(what, sizeof what, "%s flags %x", pattern, flags);
    int status = glob(pattern, flags, on_error, &g);
    found(what, &g, status);
    if (!status)
        globfree(&g);
    reports();
}

PROBE(unreadable_patterns) {
    CALL(chmod(P("closed"), 0));
    for (on_error_result = 0; on_error_result < 2; on_error_result++) {
        one(P("*/*"), 0);
        one(P("*/*"), GLOB_ERR);
        one(P("closed/*"), GLOB_NOCHECK);
        one(P("c*/"), GLOB_ONLYDIR);
    }
    CALL(chmod(P("closed"), 0755));
    one(P("closed/*"), 0);
}

static int own_calls;
static void *own_opendir(const char *path) { return own_calls++, opendir(path); }
static struct dirent *own_readdir(void *d) { return own_calls++, readdir(d); }
static void own_closedir(void *d) { own_calls++, closedir(d); }
static int own_stat(const char *p, struct stat *s) { return own_calls++, stat(p, s); }
static int own_lstat(const char *p, struct stat *s) { return own_calls++, lstat(p, s); }

PROBE(appended_patterns) {
    glob_t g = {.gl_offs = 2};
    found("first", &g, glob(P("full/[0-9]"), GLOB_DOOFFS, NULL, &g));
    found("nothing", &g, glob(P("full/x*"), GLOB_DOOFFS | GLOB_APPEND, NULL, &g));
    found("more", &g, glob(P("d/*"), GLOB_DOOFFS | GLOB_APPEND | GLOB_MARK, NULL, &g));
    found("checked", &g, glob("none*", GLOB_DOOFFS | GLOB_APPEND | GLOB_NOCHECK, NULL, &g));
    g.gl_opendir = own_opendir;
    g.gl_readdir = own_readdir;
    g.gl_closedir = own_closedir;
    g.gl_stat = own_stat;
    g.gl_lstat = own_lstat;
    found("own", &g, glob(P("*/[a-c]"), GLOB_DOOFFS | GLOB_APPEND | GLOB_ALTDIRFUNC | GLOB_MARK, NULL, &g));
    say("own functions are called %d, kept %d", own_calls > 0,
        g.gl_opendir == own_opendir && g.gl_readdir == own_readdir && g.gl_closedir == own_closedir && g.gl_stat == own_stat
            && g.gl_lstat == own_lstat);
    found("own, a link", &g, glob(P("dangling"), GLOB_DOOFFS | GLOB_APPEND | GLOB_ALTDIRFUNC, NULL, &g));
    found("again", &g, glob(P("dangling"), GLOB_DOOFFS | GLOB_APPEND, NULL, &g));
    reports();
    globfree(&g);
    glob64_t g64;
    found("64", (glob_t *)&g64, glob64(P("*/[0-9]"), 0, NULL, &g64));
    reports();
    globfree64(&g64);
    CALL(glob(P("*"), 1 << 20, NULL, &g));
}

/* wordexp */

static void words(const char *text, int flags, wordexp_t *w) {
    const char *const results[] = {"ok", "NOSPACE", "BADCHAR", "BADVAL", "CMDSUB", "SYNTAX"};
    int status = wordexp(text, w, flags);
    say("%s flags %d: %s", text, flags, results[status]);
    if (status)
        return;
    say("  %zu words, %zu before", w->we_wordc, w->we_offs);
    for (size_t i = 0; i < w->we_offs; i++)
        if (w->we_wordv[i])
            say("  not null");
    for (size_t i = 0; i < w->we_wordc; i++)
        say("  %s", w->we_wordv[w->we_offs + i]);
    if (w->we_wordv[w->we_offs + w->we_wordc])
        say("  not ended");
}

static const char *const WORDS[] = {
    "$E/full/[0-9] $E/nope*", "$E/*", "a $E/d/* b", "'$E'/*", "\"$E\"/*", "${E}/fu*/[12]", "$E/'d'/*", "$E/d\\/*",
    "$E/*'d'", "$E/*\"d\"", "$E/\"*\"d", "$E/w*' 'x*", "$E/w*\\ x", "$E/w*\\ */*", "$E/[a\"-\"d]*", "$E/\\*star", "$E/\\**", "$E/*\\\\*",
    "~/*", "~/[bs]*", "x~*", "~*", "=~/*", "$H/*", "$H*", "\"$E/d/b\" $E/d/?", "$TWO*", "$TWO/*", "\"$TWO\"*", "$NONE*",
    "$E/full/*|x", "$E/full/*;x", "$E/d/* (x)", "x | y*", "$E/d/*'", "$E/d/*\"x", "\"$E/d/*", "$E/d/*\n", "$E/d/* $", "$*", "$?*",
    "$5*", "$E/d*$E", "$E/d/*$NONE", "$(echo $E/d/*)", "`echo $E/d/*`", "$E/{a,b}*", "[ a", "[", "?", "*", "", "   ", "''*", "\"\"* x",
    "$E/d/*\\", "\\", "*/[a-c]", "./*", "d*/ $((1*2))x", "${NONE:-$E/d/*}", "$E/d/?\"b\"?", "~nobody-here/*", "a=~/* b", "d/*\t*/b",
    "\303\244* $E\303\244*",
};

static void all_words(void) {
    const int flags[] = {0, WRDE_NOCMD, WRDE_UNDEF, WRDE_DOOFFS};
    say("in %s", here());
    for (size_t f = 0; f < 4; f++)
        for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
            wordexp_t w = {.we_offs = 2};
            words(WORDS[i], flags[f], &w);
            /* A failed wordexp leaves the structure unchanged, so that the probe has nothing to free. */
            if (w.we_wordv)
                wordfree(&w);
        }
}

PROBE(words) {
    char two[8192];
    setenv("HOME", P("d"), 1);
    setenv("H", P("full"), 1);
    snprintf(two, sizeof two, "%s/a %s/d", E, E);
    setenv("TWO", two, 1);
    CALL(chdir(E));
    all_words();
    CALL(chdir("full/sub"));
    all_words();
    wordexp_t w = {.we_offs = 1};
    words("$E/d/*", WRDE_DOOFFS, &w);
    words("$E/full/[12] x $E/nope*", WRDE_DOOFFS | WRDE_APPEND, &w);
    words("plain", WRDE_DOOFFS | WRDE_APPEND, &w);
    /* The call that fails comes first. If it followed an appended word, libc would leave pointers to freed memory in the
     * structure. */
    words("( $E/[ab]", WRDE_DOOFFS | WRDE_APPEND, &w);
    words("$E/[ab]", WRDE_DOOFFS | WRDE_REUSE, &w);
    wordfree(&w);
}

PROBE(plain_words) {
    wordexp_t w;
    words("$E/full/[0-9] \"$E\"/d/* $E/nope*", 0, &w);
    wordfree(&w);
    CALL(chdir(P("d")));
    words("* ../full/[12]", 0, &w);
    wordfree(&w);
}

/* The shim leaves words to libc if IFS sets other field separators. */
PROBE(separated_words) {
    wordexp_t w;
    attributes(P("a"));
    setenv("IFS", ":", 1);
    words("$E/full/[0-9]:$E/d/*", 0, &w);
    wordfree(&w);
    setenv("IFS", "", 1);
    words("$E/full/[0-9] $E/d/*", 0, &w);
    wordfree(&w);
}

/* Changes the tree, and matches patterns in it. */
PROBE(changed) {
    write_file(P("good/new"), "new");
    CALL(mkdir(P("good/sub/made"), 0755));
    CALL(unlink(P("good/f")));
    CALL(rename(P("d"), P("good/moved")));
    one(P("good/*"), GLOB_MARK);
    one(P("good/*/*"), GLOB_MARK);
    one(P("d/*"), GLOB_NOCHECK);
    wordexp_t w;
    words("$E/good/* $E/good/sub/m* $E/d/*", 0, &w);
    wordfree(&w);
}
