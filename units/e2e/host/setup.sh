# Run once by /bin/sh in a fresh Debian root: what makes it a host that can be attacked over and over.

echo victim >/etc/hostname
# With a full name of its own: sendmail waits a minute for one otherwise.
printf '127.0.0.1 localhost\n::1 localhost\n10.77.0.1 victim.example.test victim\n' >/etc/hosts
: >/etc/resolv.conf
: >/etc/machine-id # filled at boot, so that each host has its own

# Nothing that runs on its own, so that what happens is what a test did.
for t in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim man-db; do
	systemctl disable "$t.timer" 2>/dev/null || :
done
systemctl disable getty@tty1.service e2scrub_reap.service systemd-pstore.service 2>/dev/null || :
systemctl mask systemd-networkd-wait-online.service console-getty.service 2>/dev/null || :

# At each of some ten daemon-reloads of a host these look for what it does not have.
mkdir -p /etc/systemd/system-generators
for g in cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run system-update tpm2 veritysetup; do
	ln -s /dev/null "/etc/systemd/system-generators/systemd-$g-generator"
done

# bob logs in with a password; mallory is a local user who forges log lines. Debian's hash is made to cost an attacker a fifth of a
# second for each guess, and here the tests would pay for it.
useradd -m -s /bin/bash bob
useradd -m -s /bin/bash mallory
echo bob:correct-horse | chpasswd -c SHA256 -s 1000

# A wrong password is answered at once: PAM's two seconds each are for people, and a test makes hundreds of attempts.
sed -i 's/pam_unix.so nullok/& nodelay/' /etc/pam.d/common-auth

cat >/etc/ssh/sshd_config.d/e2e.conf <<'E'
PasswordAuthentication yes
KbdInteractiveAuthentication no
UseDNS no
MaxStartups 100:30:200
E
# OpenSSH 9.8 and later slow an attacker down by themselves; what is tried here is bailiff.
if ! sshd -t -o PerSourcePenalties=no 2>&1 | grep -q 'Bad configuration option'; then
	echo 'PerSourcePenalties no' >>/etc/ssh/sshd_config.d/e2e.conf
fi
ssh-keygen -A >/dev/null

# ssh asks this program for the password, each time it is asked for one.
printf '#!/bin/sh\necho "$E2E_PASSWORD"\n' >/usr/local/bin/askpass
chmod 755 /usr/local/bin/askpass

# A persistent journal, as a server has it, that does not drop a test's bursts.
mkdir -p /etc/systemd/journald.conf.d /var/log/journal
printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=2G\n' >/etc/systemd/journald.conf.d/e2e.conf
