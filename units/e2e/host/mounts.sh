# Run by /bin/sh in a mount namespace of its own, which lives as long as our stdin stays open. ROOT is the read-only root,
# DIR an empty directory, GROUP the name of our cgroup. All that is mounted here vanishes with the namespace.
set -eu
mount -t cgroup2 cgroup2 /sys/fs/cgroup # over whatever is there: a hybrid or v1 machine will do too
mkdir "/sys/fs/cgroup/$GROUP" "/sys/fs/cgroup/$GROUP/clients"
mount -t tmpfs -o mode=0755,size=75% tmpfs "$DIR"
mkdir "$DIR/upper" "$DIR/work" "$DIR/root"
mount -t overlay -o "lowerdir=$ROOT,upperdir=$DIR/upper,workdir=$DIR/work" overlay "$DIR/root"
echo ready
cat >/dev/null
# The host is stopped by now, unless we were killed. Take away what is left of it and is not a mount.
echo 1 >"/sys/fs/cgroup/$GROUP/cgroup.kill"
for _ in $(seq 50); do
	find "/sys/fs/cgroup/$GROUP" -depth -type d -exec rmdir {} + 2>/dev/null || :
	test -d "/sys/fs/cgroup/$GROUP" || break
	sleep 0.1
done
umount -l -R "$DIR"
rmdir "$DIR"
