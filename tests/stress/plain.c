/* A program without libraries that changes a file: plain write PATH, plain remove PATH. What fails is no fault of its own. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    if (strcmp(argv[1], "remove") == 0)
        return unlink(argv[2]), 0;
    int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0) {
        (void)!write(fd, "plain\n", 6);
        close(fd);
    }
    return 0;
}
