/* Which file a path means. */
#include "probe.h"

PROBE(missing) {
    struct stat s;
    CALL(stat(P("nope"), &s));
    CALL(lstat(P("d/nope"), &s));
    OPEN(open(P("nope"), O_RDONLY));
    CALL(access(P("nope"), F_OK));
    CALL(access(P("nope/deeper"), R_OK));
}
