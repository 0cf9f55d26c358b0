/* A library that throws an exception to its caller, and another exception that it catches itself. */
#include <stdexcept>
#include <string>
struct Local {
    int *count;
    ~Local() { ++*count; }
};
extern "C" void throws(const char *text, int *destroyed) {
    Local local{destroyed};
    throw std::runtime_error(text);
}
extern "C" int catches_itself(void) {
    int destroyed = 0;
    try {
        throws("inner", &destroyed);
    } catch (const std::runtime_error &error) {
        return destroyed == 1 && std::string(error.what()) == "inner";
    }
    return 0;
}
