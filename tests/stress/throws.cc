// A library of the tree that lets an exception of its caller pass, throws one to its caller, and catches one that it
// threw.
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
