#!/bin/sh
# install.sh install   installs bailiff from this folder onto the host, or below $DESTDIR
# install.sh remove    removes it: services, bans, firewall rules, files, users. Configuration and state stay.
# install.sh purge     removes configuration and state, too
# install.sh list      prints each destination
# install.sh variables prints units, users and folders, for the packages' scripts
#
# `make install` and `make uninstall` run it, and it comes with the binary tarball. The list of files is
# units/packaging/files. PREFIX (default /usr) and the directories below can be set in the environment.
set -eu
umask 022
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
COCKPITDIR=${COCKPITDIR:-$PREFIX/share/cockpit/bailiff}
MANDIR=${MANDIR:-$PREFIX/share/man}
DOCDIR=${DOCDIR:-$PREFIX/share/doc/bailiff}
BASHDIR=${BASHDIR:-$PREFIX/share/bash-completion/completions}
FISHDIR=${FISHDIR:-$PREFIX/share/fish/vendor_completions.d}
if [ -z "${ZSHDIR:-}" ]; then # Debian's zsh does not look into site-functions
	if [ -e /etc/debian_version ]; then ZSHDIR=$PREFIX/share/zsh/vendor-completions; else ZSHDIR=$PREFIX/share/zsh/site-functions; fi
fi

# variables: prints what the list and the files in it say about the installation, as assignments for a shell.
#   UNITS     all units but templates            ENABLED   those that a package enables and starts at once
#   OPTIONAL  those that an administrator may enable
#   SERVICES  units that an upgrade restarts if they run: no templates, no units that end by themselves, none of ENABLED
#   USERS     system users, each with a group of its name
#   FOLDERS   names below /var/lib and /run
#   OUTPUT    files that units write for others
variables() {
	UNITS='' ENABLED='' OPTIONAL='' SERVICES='' USERS='' FOLDERS='' OUTPUT=''
	each examine
	for v in UNITS ENABLED OPTIONAL SERVICES USERS FOLDERS OUTPUT; do
		eval "echo \"$v='\${$v# }'\""
	done
}

examine() { # MODE SOURCE DESTINATION STATE
	unit=${3##*/}
	case $3 in
	"$UNITDIR"/*@.*) ;;
	"$UNITDIR"/*)
		UNITS="$UNITS $unit"
		if [ "$4" = enable ]; then
			ENABLED="$ENABLED $unit"
		else
			if grep -q '^\[Install\]' "$top/$2"; then OPTIONAL="$OPTIONAL $unit"; fi
			case $unit in *.service)
				if ! grep -q '^Type=oneshot' "$top/$2"; then SERVICES="$SERVICES $unit"; fi ;;
			esac
		fi ;;
	"$SYSUSERSDIR"/*) USERS="$USERS $(words 's/^u \([^ ]*\) .*/\1/p' "$top/$2")"; return ;;
	*) return ;;
	esac
	OUTPUT="$OUTPUT$(sed -n 's/^ExecStart=.* --output \([^ ]*\).*/ \1/p' "$top/$2")"
	for f in $(words 's/^\(State\|Runtime\)Directory=//p; s|^ListenStream=/run/\([^/]*\)/.*|\1|p' "$top/$2"); do
		case " $FOLDERS " in *" $f "*) ;; *) FOLDERS="$FOLDERS $f" ;; esac
	done
}

words() { sed -n "$1" "$2" | tr '\n' ' ' | sed 's/ $//'; }

# each COMMAND: runs COMMAND MODE SOURCE DESTINATION STATE for each line of the list.
each() {
	while read -r mode src dst state; do
		case $mode in ''|\#*) continue ;; esac
		eval "dst=\"$dst\"" # the list's own variables
		"$1" "$mode" "$src" "$dst" "$state"
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
	if [ -n "$DESTDIR" ]; then return; fi
	systemd-sysusers "$SYSUSERSDIR/bailiff.conf"
	systemd-tmpfiles --create "$TMPFILESDIR/bailiff.conf"
	journalctl --update-catalog
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	# Nothing is enabled: that is the administrator's decision.
	echo 'installed; to start it now and at each boot: systemctl enable --now bailiff.service'
}

# Bans would outlive the daemon, so they are lifted in every firewall backend. A failure here must not stop the rest.
do_remove() {
	eval "$(variables)"
	# shellcheck disable=SC2086 # a list of words
	if [ -n "$DESTDIR" ]; then
		if command -v systemctl >/dev/null; then systemctl --quiet --root="$DESTDIR" disable $UNITS 2>/dev/null || :; fi
	else
		if [ -d /run/systemd/system ]; then systemctl disable --now $UNITS || :; fi
		"$BINDIR/bailiff" firewall remove --stop || :
	fi
	each remove_one
	rmdir "$DESTDIR$LIBDIR" 2>/dev/null || :
	if [ -n "$DESTDIR" ]; then return; fi
	etc=/etc/systemd/system
	rm -f $etc/bailiff-report.service.d/50-mail.conf $etc/bailiff.service.d/firewalld-only.conf
	rmdir $etc/bailiff-report.service.d $etc/bailiff.service.d 2>/dev/null || :
	for f in $OUTPUT; do rm -f "$f"; done
	for f in $FOLDERS; do rm -rf "/run/$f"; done
	for u in $USERS; do
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
	rm -rf "$DESTDIR/etc/bailiff"
	rm -f "$DESTDIR/etc/systemd/system/bailiff-fleet.service.d/50-encrypted.conf"
	rmdir "$DESTDIR/etc/systemd/system/bailiff-fleet.service.d" 2>/dev/null || :
	for f in $FOLDERS; do rm -rf "$DESTDIR/var/lib/$f" "$DESTDIR/var/lib/private/$f"; done ;;
variables) variables ;;
list) each print_one ;;
*)
	sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
	exit 2 ;;
esac
