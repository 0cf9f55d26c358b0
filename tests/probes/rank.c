/*
 * rank OUT DATA: runs as a rank of a compiled MPI program. It writes three values into OUT/<rank>: a sum over all ranks,
 * a number from the file DATA, and the result of a function of its library. The library is this file, compiled with
 * -DPART.
 */
#ifdef PART
int part(void) { return 42; }
#else
#include <mpi.h>
#include <stdio.h>

int part(void);

int main(int argc, char **argv) {
    int rank, size, sum, data = 0;
    char name[4096];
    FILE *file;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc < 3) MPI_Abort(MPI_COMM_WORLD, 2);
    file = fopen(argv[2], "r");
    if (!file || fscanf(file, "%d", &data) != 1) MPI_Abort(MPI_COMM_WORLD, 1);
    fclose(file);
    rank += 1;
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    rank -= 1;
    snprintf(name, sizeof name, "%s/%d", argv[1], rank);
    file = fopen(name, "w");
    if (!file) MPI_Abort(MPI_COMM_WORLD, 1);
    fprintf(file, "%d of %d: sum %d, data %d, part %d\n", rank, size, sum, data, part());
    fclose(file);
    MPI_Finalize();
    return 0;
}
#endif
