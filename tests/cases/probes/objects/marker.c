/* A library whose function returns a text that identifies it. */
#define STRING(x) #x
#define TEXT_OF(x) STRING(x)
const char *marker(void) { return TEXT_OF(TEXT); }
