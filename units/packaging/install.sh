#!/bin/sh
# install.sh install   installs bailiff from this folder onto the host, or below $DESTDIR
# install.sh remove    removes it: services, bans, firewall rules, files, users. Configuration and state stay.
# install.sh purge     removes configuration and state, too
# install.sh list      prints each destination
#
# It is what `make install` and `make uninstall` run, and it comes with the binary tarball. The list of files is
# units/packaging/files. PREFIX (default /usr) and the directories below can be set in the environment.
set -eu
top=$(cd "$(dirname "$0")" && pwd)
list=$top/files
if [ ! -e "$top/bin" ]; then top=$(cd "$top/../.." && pwd); fi # in the source tree it is two levels further down

PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
BINDIR=${BINDIR:-$PREFIX/bin}
SBINDIR=${SBINDIR:-$PREFIX/sbin}
LIBEXECDIR=${LIBEXECDIR:-$PREFIX/libexec/bailiff}
DATADIR=${DATADIR:-$PREFIX/share/bailiff}
LIBDIR=${LIBDIR:-$PREFIX/lib/bailiff}
UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system}
SYSUSERSDIR=${SYSUSERSDIR:-$PREFIX/lib/sysusers.d}
TMPFILESDIR=${TMPFILESDIR:-$PREFIX/lib/tmpfiles.d}
CATALOGDIR=${CATALOGDIR:-$PREFIX/lib/systemd/catalog}
POLKITDIR=${POLKITDIR:-$PREFIX/share/polkit-1/rules.d}
MANDIR=${MANDIR:-$PREFIX/share/man}
DOCDIR=${DOCDIR:-$PREFIX/share/doc/bailiff}
BASHDIR=${BASHDIR:-$PREFIX/share/bash-completion/completions}
FISHDIR=${FISHDIR:-$PREFIX/share/fish/vendor_completions.d}
if [ -z "${ZSHDIR:-}" ]; then # Debian's zsh does not look into site-functions
	if [ -e /etc/debian_version ]; then ZSHDIR=$PREFIX/share/zsh/vendor-completions; else ZSHDIR=$PREFIX/share/zsh/site-functions; fi
fi

SERVICES='bailiff.service bailiff.socket bailiff-netlink.socket bailiff-allow-refresh.timer bailiff-metrics.timer bailiff-report-exec.socket
	bailiff-report.service bailiff-report.socket bailiff-web.service bailiff-web.socket'

# each COMMAND: runs COMMAND MODE SOURCE DESTINATION for each line of the list.
each() {
	while read -r mode src dst; do
		case $mode in ''|\#*) continue ;; esac
		eval "dst=\"$dst\"" # the list's own variables
		"$1" "$mode" "$src" "$dst"
	done <"$list"
}

install_one() {
	case $2 in
	bin/man/*) # built by scdoc, which may be missing
		if [ ! -e "$top/$2" ]; then echo "not built, left out: $3" >&2; return; fi ;;
	esac
	mkdir -p "$DESTDIR$(dirname "$3")"
	case $2 in
	*.service) # names the programs by their paths
		sed "s|/usr/sbin/|$SBINDIR/|; s|/usr/bin/|$BINDIR/|; s|/usr/libexec/bailiff/|$LIBEXECDIR/|" "$top/$2" >"$DESTDIR$3.new" ;;
	*) cp "$top/$2" "$DESTDIR$3.new" ;;
	esac
	chmod "$1" "$DESTDIR$3.new"
	mv -f "$DESTDIR$3.new" "$DESTDIR$3" # a running program keeps its file
}

remove_one() {
	rm -f "$DESTDIR$3"
	case $3 in
	*/bailiff/*) rmdir "$DESTDIR$(dirname "$3")" 2>/dev/null || : ;;
	esac
}

print_one() { echo "$3"; }

do_install() {
	each install_one
	mkdir -p "$DESTDIR/etc/bailiff"
	if [ -n "$DESTDIR" ]; then return; fi
	systemd-sysusers "$SYSUSERSDIR/bailiff.conf"
	systemd-tmpfiles --create "$TMPFILESDIR/bailiff.conf"
	journalctl --update-catalog
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	# Nothing is enabled: that is the administrator's decision.
	echo 'installed; to start it now and at each boot: systemctl enable --now bailiff.service'
}

# Bans would outlive the daemon, so they are lifted in every firewall backend. What fails here must not stop the rest.
do_remove() {
	if [ -z "$DESTDIR" ]; then
		# shellcheck disable=SC2086 # a list of words
		if [ -d /run/systemd/system ]; then systemctl disable --now $SERVICES || :; fi
		"$BINDIR/bailiff" firewall remove --stop || :
	fi
	each remove_one
	rmdir "$DESTDIR$LIBDIR" 2>/dev/null || :
	if [ -n "$DESTDIR" ]; then return; fi
	etc=/etc/systemd/system
	rm -f $etc/bailiff-report.service.d/50-mail.conf $etc/bailiff.service.d/firewalld-only.conf
	rmdir $etc/bailiff-report.service.d $etc/bailiff.service.d 2>/dev/null || :
	rm -rf /run/bailiff /run/bailiff-report /run/bailiff-web
	for u in bailiff bailiff-fetch bailiff-report bailiff-web; do
		userdel "$u" || :
		groupdel "$u" 2>/dev/null || :
	done
	journalctl --update-catalog || :
	if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
}

case ${1:-} in
install) do_install ;;
remove) do_remove ;;
purge)
	do_remove
	rm -rf "$DESTDIR/etc/bailiff" "$DESTDIR/var/lib/bailiff" "$DESTDIR/var/lib/bailiff-allow" "$DESTDIR/var/lib/bailiff-report" ;;
list) each print_one ;;
*)
	sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
	exit 2 ;;
esac
