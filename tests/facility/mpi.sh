# mpirun of Open MPI: four ranks of a program that is not Python
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun.openmpi --oversubscribe -n 4 sh -c 'echo "rank $OMPI_COMM_WORLD_RANK"; cat' </dev/null | sort; mpirun.openmpi --oversubscribe -n 2 sh -c 'exit 3' >/dev/null 2>&1; echo $?
