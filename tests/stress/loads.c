/* loads TREE SECONDS: some threads load and unload libraries of the tree, other threads work on the tree and list the
 * loaded libraries, and the main thread forks. */
#include "common.h"
#include <dlfcn.h>
#include <link.h>

static double end;
static atomic_long loads;

static void *load(void *n)
{
    unsigned seed = (unsigned)(long)n;
    do {
        char name[256];
        int i = 1 + next(&seed) % 8;
        snprintf(name, sizeof name, "%s/lib/%slibnumber%d.so", tree, next(&seed) % 2 ? "" : "../d15/sub/../../lib/", i);
        void *lib = dlopen(name, next(&seed) % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_GLOBAL);
        CHECK(lib != NULL, "%s", dlerror());
        int (*number)(void) = (int (*)(void))dlsym(lib, "number");
        CHECK(number && number() == i, "%s", name);
        Dl_info info;
        CHECK(dladdr(number, &info), "%s", name);
        snprintf(name, sizeof name, "%s/lib/libnumber%d.so", tree, i);
        if (!strstr(info.dli_fname, "/../"))
            CHECK(strcmp(info.dli_fname, name) == 0, "%s is called %s", name, info.dli_fname);
        dlclose(lib);
        snprintf(name, sizeof name, "%s/lib/missing%d.so", tree, i);
        CHECK(dlopen(name, RTLD_NOW) == NULL, "%s", name);
        const char *said = dlerror();
        CHECK(said && strncmp(said, name, strlen(name)) == 0, "%s: %s", name, said ? said : "(nothing)");
        done(2);
        loads++;
    } while (now() < end);
    return NULL;
}

static int each(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)size;
    CHECK(strncmp(info->dlpi_name, "/dev/shm/", 9) != 0 || strstr(info->dlpi_name, "libpyshm.so"), "a staged name: %s", info->dlpi_name);
    return ++*(int *)count > 10000;
}

static void *look(void *n)
{
    unsigned seed = (unsigned)(long)n;
    do {
        int count = 0;
        CHECK(dl_iterate_phdr(each, &count) == 0 && count > 2, "%d libraries", count);
        for (int i = 0; i < 10; i++)
            operate(&seed, next(&seed) % ALL, 0);
    } while (now() < end);
    return NULL;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 2);
    end = now() + atof(argv[2]);
    pthread_t threads[6];
    for (long i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, i < 3 ? load : look, (void *)i);
    long forks = 0;
    unsigned seed = 3;
    do {
        pid_t child = fork();
        if (child == 0) {
            for (int i = 0; i < SAFE; i++)
                operate(&seed, i, 0);
            _exit(42);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42, "child %ld: status %x", forks, status);
        done(SAFE);
        forks++;
        usleep(500);
    } while (now() < end);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    printf("%ld libraries loaded and unloaded, %ld forks\n", atomic_load(&loads), forks);
    return finish();
}
