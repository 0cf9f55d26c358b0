# launch.sh: sets the words that start a job on the virtual cluster under each launcher; sourced by tests. The words are
# in bash arrays, so that a test can put others before the launcher (`pyshm-run mpiexec ...`) and before the program.
#
#   launch_words FLAVOR root|user [RANKS [NODES]]     default 8 ranks on 4 nodes, the same number on each; sets
#       LAUNCH=(mpiexec ... )     the launcher and its options, which the program follows
#       LAUNCH_ENV=(NAME=value …) variables that the launcher and the ranks need
#       ALLOC=(salloc ...)        for Slurm, the command that makes the allocation of the job; else empty
#       FORWARD=-x                for Open MPI, the option that forwards a variable; else empty
#       PYTHON                    the interpreter of the environment that has the flavor's MPI
#       LOGIN=(vcluster exec…)    the command that runs another one on n0 as that user
#
# Flavors: hydra (MPICH wheel), ompi (mpirun of Open MPI 4.1), srun-pmi2 (MPICH), srun-pmix (Open MPI), and, after
# make-env.sh --open-mpi-5, ompi5 (mpirun of Open MPI 5). $TEST_ENV (default target/test-env) is the directory that
# tests/env/make-env.sh filled. A test puts the arrays together in this way:
#
#   "${LOGIN[@]}" env "${LAUNCH_ENV[@]}" "${ALLOC[@]}" pyshm-run "${LAUNCH[@]}" pyshm-run "$PYTHON" app.py OUT

_launch_dir=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P)
. "$_launch_dir/common.sh"
: "${TEST_ENV:=$CHECKOUT/target/test-env}"
VCLUSTER=$_launch_dir/vcluster
FLAVORS=(hydra ompi srun-pmi2 srun-pmix)
export VCLUSTER_DIR

launch_words() {
    local flavor=$1 who=$2 ranks=${3:-8} nodes=${4:-4} per_node
    per_node=$((ranks / nodes))
    LAUNCH=() LAUNCH_ENV=() ALLOC=() FORWARD=''
    PYTHON=$TEST_ENV/venv/bin/python
    case $who in
        root) LOGIN=("$VCLUSTER" exec n0) ;;
        user) LOGIN=("$VCLUSTER" exec-as "$CLUSTER_USER" n0) ;;
        *) echo "launch_words: root or user, not $who" >&2; return 2 ;;
    esac
    case $flavor in
        hydra)
            LAUNCH=("$TEST_ENV/venv/bin/mpiexec" -launcher ssh)
            [ "$who" = user ] || LAUNCH+=(-launcher-exec "$_launch_dir/fake-ssh")
            LAUNCH+=(-f "$STATE/hosts.hydra" -n "$ranks" -ppn "$per_node") ;;
        ompi)
            # UCX and libfabric look for hardware for seconds; the cluster has only TCP and shared memory.
            LAUNCH_ENV=(OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=tcp,vader,self
                OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0)
            LAUNCH=(mpirun.openmpi)
            [ "$who" = user ] || LAUNCH+=(--allow-run-as-root --mca plm_rsh_agent "$_launch_dir/fake-ssh")
            LAUNCH+=(--hostfile "$STATE/hosts.ompi" --map-by "ppr:$per_node:node" --bind-to none -n "$ranks")
            FORWARD=-x
            PYTHON=$TEST_ENV/venv-ompi/bin/python ;;
        ompi5)
            LAUNCH_ENV=(OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=tcp,sm,self
                OMPI_MCA_btl_tcp_if_include=eth0 PRTE_MCA_prte_if_include=eth0 PMIX_MCA_psec=native)
            LAUNCH=("$TEST_ENV/venv-ompi5/bin/mpirun")
            [ "$who" = user ] || LAUNCH+=(--allow-run-as-root --prtemca plm_ssh_agent "$_launch_dir/fake-ssh")
            LAUNCH+=(--hostfile "$STATE/hosts.ompi" --map-by "ppr:$per_node:node" --bind-to none -n "$ranks")
            FORWARD=-x
            PYTHON=$TEST_ENV/venv-ompi5/bin/python ;;
        srun-pmi2 | srun-pmix)
            ALLOC=(salloc -Q -N "$nodes" -n "$ranks" --ntasks-per-node="$per_node")
            LAUNCH=(srun --mpi="${flavor#srun-}" -N "$nodes" -n "$ranks" --ntasks-per-node="$per_node")
            if [ "$flavor" = srun-pmix ]; then
                # UCX over TCP, not ob1: with srun a fast rank's first message can reach a rank that is still in
                # MPI_Init, and ob1 of 4.1 and 5.0 then crashes (open-mpi/ompi 12495; 1 of 13 runs on a busy machine).
                LAUNCH_ENV=(OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ucx OMPI_MCA_btl=self
                    OMPI_MCA_pml_ucx_tls=any OMPI_MCA_pml_ucx_devices=any
                    UCX_TLS=tcp,self,sysv,posix UCX_NET_DEVICES=eth0 PMIX_MCA_psec=native)
                PYTHON=$TEST_ENV/venv-ompi/bin/python
            fi ;;
        *) echo "launch_words: unknown flavor $flavor" >&2; return 2 ;;
    esac
}
