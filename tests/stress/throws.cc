// A library of the tree with three functions: one lets an exception of the caller pass, one throws an exception to the
// caller, and one catches an exception that it threw itself.
#include <stdexcept>
struct Guard { int &n; ~Guard() { n++; } };
extern "C" void throws(void (*call)(int), int n)
{
    int guarded = 0;
    Guard guard{guarded};
    call(n);
    throw std::runtime_error("from the library");
}
extern "C" void catches_its_own()
{
    try {
        throws([](int) {}, 0);
    } catch (const std::runtime_error &) {
    }
}
