/* 64 KB of thread-local storage that the loader has to place when the program starts. */
static __thread char big[65536] __attribute__((tls_model("initial-exec")));
char *block(void) { return big; }
