# common.sh: names and places that the scripts of this directory share; sourced.

# One cluster per checkout unless VCLUSTER_DIR says otherwise. Not below /tmp: that is private to each node.
_checkout=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd -P)
: "${VCLUSTER_DIR:=/var/tmp/pyshm-vcluster.$(printf %s "$_checkout" | cksum | cut -d' ' -f1)}"
CHECKOUT=$_checkout
STATE=$VCLUSTER_DIR/state
# What Slurm tracks processes by, on the machine itself: part of the hierarchy of control groups, for this cluster.
FREEZER=${VCLUSTER_FREEZER:-/sys/fs/cgroup/freezer}/pyshm-vcluster.$(printf %s "$VCLUSTER_DIR" | cksum | cut -d' ' -f1)

# The ordinary user. Exists in the nodes' own copies of /etc/passwd, group and shadow, never on the host.
CLUSTER_USER=pyuser
CLUSTER_UID=12345
# Another one, for jobs beside the first one's; without a home and ssh.
OTHER_USER=pyother
OTHER_UID=12346
USER_HOME=$STATE/home/$CLUSTER_USER

NODE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SLOTS=32        # of each compute node, as Slurm and the host files have it
