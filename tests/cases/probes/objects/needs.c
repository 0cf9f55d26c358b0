/* A library that needs another library. */
extern const char *marker(void);
const char *needed(void) { return marker(); }
