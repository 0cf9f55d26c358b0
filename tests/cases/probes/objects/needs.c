/* A library that needs another one. */
extern const char *marker(void);
const char *needed(void) { return marker(); }
