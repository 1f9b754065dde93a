# Runs a command in the root of an image as an engine would: in namespaces of its own for mounts
# and processes, the root only read, /tmp empty, two folders mounted, and as process 1.
#   unshare --mount --pid --fork --kill-child sh contain.sh USER ROOT MODELS STATE COMMAND…
set -eu
user=$1 root=$2 models=$3 state=$4
shift 4
mount --bind "$root" "$root"
mount --bind "$models" "$root/models"
mount --bind "$state" "$root/state"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user:$user" "$root" "$@"
