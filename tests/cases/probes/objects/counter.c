/* A library with a state: how often it was called. */
static int calls;
int bump(void) { return ++calls; }
