# common.sh: sets the names and paths that the scripts of this directory share; sourced.

# Each checkout has one cluster unless VCLUSTER_DIR names another. The directory is not below /tmp, because each node has
# its own /tmp.
_checkout=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd -P)
: "${VCLUSTER_DIR:=/var/tmp/pyshm-vcluster.$(printf %s "$_checkout" | cksum | cut -d' ' -f1)}"
CHECKOUT=$_checkout
STATE=$VCLUSTER_DIR/state
# The control group of this cluster on the machine itself, in which Slurm tracks processes.
FREEZER=${VCLUSTER_FREEZER:-/sys/fs/cgroup/freezer}/pyshm-vcluster.$(printf %s "$VCLUSTER_DIR" | cksum | cut -d' ' -f1)

# The ordinary user, who exists only in the nodes' own copies of /etc/passwd, group and shadow, never on the host.
CLUSTER_USER=pyuser
CLUSTER_UID=12345
# A second ordinary user, for jobs at the same time; this one has no home and no ssh.
OTHER_USER=pyother
OTHER_UID=12346
USER_HOME=$STATE/home/$CLUSTER_USER

NODE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SLOTS=32        # processors that Slurm and the host files give to each compute node
