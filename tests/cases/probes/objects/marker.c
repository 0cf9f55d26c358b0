/* A library that says which one it is. */
#define STRING(x) #x
#define TEXT_OF(x) STRING(x)
const char *marker(void) { return TEXT_OF(TEXT); }
