# Network, data partition, name: on a real device network manager, fstab and `configure` see to it.
set -e
mkdir -p /run/lock
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mount -t ext4 /dev/nvme0n1p5 /data
sed "s/@NAME@/$(cat /data/name)/" /etc/fleetcd/agent.toml >/run/agent.toml
mount -o bind /run/agent.toml /etc/fleetcd/agent.toml
echo "init: image $(cat /etc/image-version), $(cat /proc/cmdline)" >/dev/console
