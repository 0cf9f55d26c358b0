/* A library of the tree that returns its number. The library's constructor and destructor call the shim while the loader
 * holds the loader's lock. */
#include <sys/stat.h>
static struct stat st;
__attribute__((constructor)) static void load(void) { stat(PREFIX "/d0/f0", &st); }
__attribute__((destructor)) static void unload(void) { stat(PREFIX "/d0/f1", &st); }
static __thread int per_thread = NUMBER;
int number(void) { return st.st_size == 6 ? per_thread : -1; }
