/*
 * mpiexec whole_bcast ARCHIVE DIRECTORY: broadcasts the whole archive by one MPI_Bcast (one per GiB); each process
 * writes the archive to DIRECTORY/archive. Earlier tools broadcast archives in this way. bsdtar then unpacks the archive.
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void all(ssize_t (*move)(int, void *, size_t), int fd, char *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = move(fd, data + done, size - done);
        if (n <= 0) {
            perror("whole_bcast");
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        done += n;
    }
}

static ssize_t put(int fd, void *data, size_t size) { return write(fd, data, size); }

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (argc != 3) MPI_Abort(MPI_COMM_WORLD, 2);
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    struct stat st = {0};
    int in = rank ? -1 : open(argv[1], O_RDONLY);
    if (!rank && fstat(in, &st)) MPI_Abort(MPI_COMM_WORLD, 1);
    long size = st.st_size;
    MPI_Bcast(&size, 1, MPI_LONG, 0, MPI_COMM_WORLD);
    char *data = malloc(size), name[4096];
    if (!rank) all(read, in, data, size);
    const long most = 1L << 30; /* MPI_Bcast takes its count as an int. */
    for (long at = 0; at < size; at += most)
        MPI_Bcast(data + at, size - at < most ? size - at : most, MPI_BYTE, 0, MPI_COMM_WORLD);
    snprintf(name, sizeof name, "%s/archive", argv[2]);
    all(put, open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600), data, size);
    MPI_Finalize();
    return 0;
}
