/* Collects the lines that a walk reports, and prints them. */
#include <limits.h>

/* If `in_order` is set, lines are printed at once. Otherwise they are printed sorted, because the stage may order a
 * directory differently. */
static int in_order;
static char *lines[20000];
static int count;
static void report(const char *format, ...) {
    char line[16384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (in_order)
        say("  %s", line);
    else if (count < 20000)
        lines[count++] = strdup(line);
}
static void reports(void) {
    qsort(lines, count, sizeof *lines, by_text);
    for (int i = 0; i < count; free(lines[i++]))
        say("  %s", lines[i]);
    count = 0;
}

/* Returns the working directory, or the text of the error. */
static const char *here(void) {
    static char text[PATH_MAX];
    if (!getcwd(text, sizeof text))
        return strerror(errno);
    return text;
}
