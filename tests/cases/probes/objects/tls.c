/* A library with 64 KB of thread-local storage, which the loader allocates when the program starts. */
static __thread char big[65536] __attribute__((tls_model("initial-exec")));
char *block(void) { return big; }
