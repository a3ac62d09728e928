# Run once by /bin/sh in a fresh Debian root, after setup.sh, for a virtual machine.

# The kernel runs with net.ifnames=0. 10.77.0.2 is the attacker, who has every address: see network.go.
cat >/etc/systemd/system/e2e-network.service <<'U'
[Unit]
DefaultDependencies=no
Requires=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -euc 'ip link set eth0 up; ip addr add 10.77.0.1/24 dev eth0; ip -6 addr add fd77::1/64 dev eth0 nodad; ip route add default via 10.77.0.2; ip -6 route add default via fd77::2'

[Install]
WantedBy=multi-user.target
U

# Commands come through a second sshd, whose unit no jail watches. Only the process that booted the machine can reach its network.
passwd -q -d root
cat >/etc/ssh/e2e-control <<'U'
Port 2222
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin yes
PermitEmptyPasswords yes
UsePAM no
UseDNS no
MaxSessions 200
PidFile none
PerSourcePenalties no
U
cat >/etc/systemd/system/e2e-control.service <<'U'
[Unit]
After=e2e-network.service
Requires=e2e-network.service

[Service]
RuntimeDirectory=sshd
RuntimeDirectoryPreserve=yes
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/e2e-control
OOMScoreAdjust=-1000

[Install]
WantedBy=multi-user.target
U
systemctl enable e2e-network.service e2e-control.service 2>/dev/null
systemctl mask serial-getty@ttyS0.service systemd-timesyncd.service 2>/dev/null
rm -f /boot/initrd.img* # the cloud kernel has NVMe and ext4 built in
