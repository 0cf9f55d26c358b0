// unwind TREE: throws exceptions through libraries that were loaded from the tree and through frames of the shim's
// hooks, and prints which libgcc_s the program uses.
extern "C" {
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <unistd.h>
}
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/stat.h>

static std::string tree;
static std::atomic<long> calls{0};
static std::atomic<bool> stop{false};

#define CHECK(condition, what) \
    do { \
        if (!(condition)) { \
            std::fprintf(stderr, "WRONG %s:%d: %s: %s\n", __FILE__, __LINE__, #condition, std::string(what).c_str()); \
            _exit(1); \
        } \
    } while (0)

static void *load(const std::string &name)
{
    void *lib = dlopen((tree + "/lib/" + name).c_str(), RTLD_NOW);
    calls++;
    if (!lib)
        std::fprintf(stderr, "%s\n", dlerror());
    return lib;
}

static void *symbol(void *lib, const char *name)
{
    void *s = lib ? dlsym(lib, name) : nullptr;
    CHECK(s, name);
    return s;
}

static int throwing_filter(const struct dirent *) { throw std::runtime_error("from a filter"); }
static int throwing_callback(struct dl_phdr_info *, size_t, void *) { throw std::runtime_error("from a callback"); }

static void *iterate(void *)
{
    while (!stop) {
        int count = 0;
        dl_iterate_phdr([](struct dl_phdr_info *info, size_t, void *n) -> int {
            CHECK(!std::strstr(info->dlpi_name, "/fs/"), info->dlpi_name);
            return ++*static_cast<int *>(n) > 1000;
        }, &count);
        CHECK(count > 3, "libraries");
    }
    return nullptr;
}

static std::string file_of(const char *function)
{
    void *address = dlsym(RTLD_DEFAULT, function);
    Dl_info info;
    return address && dladdr(address, &info) ? info.dli_fname : "(nowhere)";
}

int main(int argc, char **argv)
{
    CHECK(argc == 2, "usage");
    tree = argv[1];
    pthread_t threads[2];
    for (auto &t : threads)
        pthread_create(&t, nullptr, iterate, nullptr);
    void *lib = load("libthrows.so");
    auto throws = reinterpret_cast<void (*)(void (*)(int), int)>(symbol(lib, "throws"));
    int caught = 0;
    for (int i = 0; i < 2000; i++) {
        try {
            // The lambda throws through the frame of the library's function.
            throws([](int n) { if (n % 2) throw n; }, i);
        } catch (int n) {
            caught += n % 2;
        } catch (const std::runtime_error &e) {
            caught += std::strcmp(e.what(), "from the library") == 0;
        }
        if (i % 100 == 0) {
            void *again = load("libthrows2.so");
            reinterpret_cast<void (*)()>(symbol(again, "catches_its_own"))();
            dlclose(again);
        }
    }
    CHECK(caught == 2000, std::to_string(caught));
    int filters = 0;
    for (int i = 0; i < 100; i++) {
        try {
            struct dirent **list;
            calls++;
            scandir((tree + "/d1").c_str(), &list, throwing_filter, nullptr);
        } catch (const std::runtime_error &) {
            filters++;
        }
    }
    CHECK(filters == 100, std::to_string(filters));
    stop = true;
    for (auto &t : threads)
        pthread_join(t, nullptr);
    try {
        dl_iterate_phdr(throwing_callback, nullptr);
        CHECK(false, "not thrown");
    } catch (const std::runtime_error &) {
        std::puts("caught from dl_iterate_phdr");
    }
    std::printf("runtime: %s\n", file_of("_Unwind_RaiseException").c_str());
    std::printf("calls %ld answered %ld\n", calls.load(), calls.load());
}
