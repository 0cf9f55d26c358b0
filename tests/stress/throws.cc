// A library of the tree with two functions. `throws` calls a function of the caller and lets its exception pass; if
// there is none, `throws` throws an exception to the caller. `catches_its_own` catches an exception that the library
// itself threw.
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
