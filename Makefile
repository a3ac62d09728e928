# make build     static binaries into bin/
# make check     vet, staticcheck, unit tests: a few minutes
# make test      everything: make check's with the race detector, the oracle, real hosts under attack (root, Debian)
# make prove     hosts whose daemons are killed a thousand times, and fuzzing: an hour (root, Debian)
# make demo      a throw-away host, attacked before your eyes (root, Debian)
# make install   onto this machine, or below DESTDIR=; make uninstall takes it away again
# make bench     all benchmarks, beside their peers where those are installed
# make deps      what the tests need, from apt (root, Debian)

PREFIX     = /usr
DESTDIR    =
BINDIR     = $(PREFIX)/bin
SBINDIR    = $(PREFIX)/sbin
LIBEXECDIR = $(PREFIX)/libexec/bailiff
DATADIR    = $(PREFIX)/share/bailiff
UNITDIR    = $(PREFIX)/lib/systemd/system
SYSUSERS   = $(PREFIX)/lib/sysusers.d
LIBDIR     = $(PREFIX)/lib/bailiff
TMPFILES   = $(PREFIX)/lib/tmpfiles.d
POLKIT     = $(PREFIX)/share/polkit-1/rules.d
CATALOG    = $(PREFIX)/lib/systemd/catalog
MANDIR     = $(PREFIX)/share/man
DOCDIR     = $(PREFIX)/share/doc/bailiff
BASHDIR    = $(PREFIX)/share/bash-completion/completions
FISHDIR    = $(PREFIX)/share/fish/vendor_completions.d
# Debian's zsh does not look into site-functions.
ZSHDIR     = $(PREFIX)/share/zsh/$(if $(wildcard /etc/debian_version),vendor-completions,site-functions)

# sudo's path seldom holds the place where Go's own installer puts it.
export PATH := $(PATH):/usr/local/go/bin

UNITS = $(wildcard units/systemd/*.service units/systemd/*.socket units/systemd/*.timer)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  = -s -w $(if $(VERSION),-X bailiff/cmd/internal/build.Version=$(VERSION))
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Of bullseye only the host, of forky the host, mail and firewalld: systemd 247 to 262, firewalld 1.3 to 2.5.
E2E = bullseye bookworm trixie forky
# The packages that have files for -tags libsystemd.
TAGGED = ./journal ./cmd/bailiff

DEB_DEMO = mmdebstrap debian-archive-keyring systemd-container iproute2 util-linux
DEB_TEST = $(DEB_DEMO) systemd-journal-remote ipset nftables iptables libsystemd-dev pkg-config gcc libc6-dev scdoc sqlite3

# However a run ends, what it started ends with it: a test that boots hosts ends when go test does, and that with make.
HELD = exec setpriv --pdeathsig KILL env

.PHONY: build check test vet staticcheck unit race oracle e2e prove fuzz bench demo deps deps-demo install uninstall clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

check: vet staticcheck unit

test: deps vet staticcheck race oracle demo e2e

vet:
	go vet ./...
	go vet -tags libsystemd $(TAGGED)
	test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt them'; exit 1; }

staticcheck:
	$(STATICCHECK) ./...
	$(STATICCHECK) -tags libsystemd $(TAGGED)

unit:
	go test ./...

race:
	go test -race ./...

# The journal reader against libsystemd itself, which needs cgo and its headers.
oracle:
	go test -tags libsystemd -run Oracle ./journal/...

e2e: build
	$(HELD) BAILIFF_E2E='$(E2E)' go test -count=1 -timeout 60m ./units/e2e/...

# Two hosts side by side, ipset and firewalld. DAEMON=20 REPORTER=5 takes a few minutes.
DAEMON = 1000
REPORTER = 200
SEED = 1
prove: deps build fuzz
	$(HELD) BAILIFF_E2E=trixie go test -count=1 -timeout 100m -v -run '^TestProve$$' ./units/e2e -prove.daemon=$(DAEMON) -prove.reporter=$(REPORTER) -prove.seed=$(SEED)

# Each fuzz test for so many executions. What it has found of interest stays in Go's cache; what fails, in testdata/fuzz.
FUZZ = 20000
fuzz:
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' . | sort | while IFS=: read -r file f; do \
	  go test -run '^$$' -fuzz "^$${f#func }$$" -fuzztime $(FUZZ)x "$${file%/*}" || exit; done

# Benchmarks of all packages, then latency and idling on a real host.
bench: deps build
	go test -tags libsystemd -run '^$$' -bench . ./...
	BAILIFF_BENCH=1 go test -count=1 -v -run TestMemory ./cmd/bailiffd
	$(HELD) BAILIFF_E2E=bookworm BAILIFF_BENCH=1 go test -count=1 -timeout 15m -v -run 'TestPeer|TestHost/.*/^(starts|idle|latency|crowd)$$' ./units/e2e
	$(HELD) BAILIFF_E2E=trixie BAILIFF_BENCH=1 go test -count=1 -timeout 30m -v -run TestFirewalls ./units/e2e

demo: deps-demo build
	go run ./units/e2e/demo

# $(call apt,PACKAGES): installs what is missing, when it can; otherwise says what to do.
apt = @missing=; for p in $(1); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	test -z "$$missing" && exit 0; \
	if test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null; then echo "missing:$$missing (as root: make $@)" >&2; exit 1; fi; \
	echo "installing$$missing"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

deps:
	$(call apt,$(DEB_TEST))

deps-demo:
	$(call apt,$(DEB_DEMO))

# Nothing is enabled: that is the admin's to say (see README).
install: build
	install -D -m 755 bin/bailiff $(DESTDIR)$(BINDIR)/bailiff
	install -D -m 755 bin/bailiffd $(DESTDIR)$(SBINDIR)/bailiffd
	install -D -m 755 bin/bailiff-report $(DESTDIR)$(SBINDIR)/bailiff-report
	install -D -m 755 bin/bailiff-netlink $(DESTDIR)$(LIBEXECDIR)/bailiff-netlink
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)/etc/bailiff
	install -m 644 $(UNITS) $(DESTDIR)$(UNITDIR)
	sed -i 's|/usr/sbin/|$(SBINDIR)/|; s|/usr/bin/|$(BINDIR)/|; s|/usr/libexec/bailiff/|$(LIBEXECDIR)/|' $(patsubst units/systemd/%,$(DESTDIR)$(UNITDIR)/%,$(filter %.service,$(UNITS)))
	install -D -m 644 units/systemd/firewalld-only.conf $(DESTDIR)$(DATADIR)/firewalld-only.conf
	install -D -m 644 units/systemd/sysusers.conf $(DESTDIR)$(SYSUSERS)/bailiff.conf
	install -D -m 644 units/systemd/tmpfiles.conf $(DESTDIR)$(TMPFILES)/bailiff.conf
	install -d $(DESTDIR)$(LIBDIR)/mail
	install -m 644 units/systemd/mail/* $(DESTDIR)$(LIBDIR)/mail
	install -D -m 644 units/polkit/50-bailiff.rules $(DESTDIR)$(POLKIT)/50-bailiff.rules
	install -D -m 644 units/catalog/bailiff.catalog $(DESTDIR)$(CATALOG)/bailiff.catalog
	install -D -m 644 units/completion/bailiff.bash $(DESTDIR)$(BASHDIR)/bailiff
	install -D -m 644 units/completion/_bailiff $(DESTDIR)$(ZSHDIR)/_bailiff
	install -D -m 644 units/completion/bailiff.fish $(DESTDIR)$(FISHDIR)/bailiff.fish
	install -D -m 644 units/config/bailiff.yaml $(DESTDIR)$(DOCDIR)/bailiff.yaml
	install -D -m 644 policy/report/mail/bailiff.tmpl $(DESTDIR)$(DOCDIR)/report.tmpl
	if command -v scdoc >/dev/null; then for f in units/man/*.scd; do p=$${f##*/}; p=$${p%.scd}; \
	  scdoc <$$f >$(DESTDIR)$(MANDIR)/man$${p##*.}/$$p || exit; done; \
	else echo 'no scdoc: manual pages are left out'; fi
ifeq ($(DESTDIR),)
	systemd-sysusers $(SYSUSERS)/bailiff.conf
	systemd-tmpfiles --create $(TMPFILES)/bailiff.conf
	journalctl --update-catalog
	if test -d /run/systemd/system; then systemctl daemon-reload; fi
	@echo 'installed; to start it now and at each boot: systemctl enable --now bailiff.service'
endif

PAGES = $(foreach p,$(patsubst units/man/%.scd,%,$(wildcard units/man/*.scd)),$(MANDIR)/man$(subst .,,$(suffix $(p)))/$(p))

# Configuration and the ledger stay. Bans would outlive the daemon, so they go with it, from every firewall.
uninstall:
ifeq ($(DESTDIR),)
	-systemctl disable --now bailiff.service bailiff.socket bailiff-netlink.socket bailiff-allow-refresh.timer bailiff-report-exec.socket bailiff-report.service bailiff-report.socket
	-$(BINDIR)/bailiff firewall remove --stop
endif
	rm -f $(DESTDIR)$(BINDIR)/bailiff $(DESTDIR)$(SBINDIR)/bailiffd $(DESTDIR)$(SBINDIR)/bailiff-report
	rm -f $(DESTDIR)$(LIBEXECDIR)/bailiff-netlink $(DESTDIR)$(DATADIR)/firewalld-only.conf $(patsubst units/systemd/%,$(DESTDIR)$(LIBDIR)/%,$(wildcard units/systemd/mail/*))
	rm -f $(DESTDIR)$(DOCDIR)/bailiff.yaml $(DESTDIR)$(DOCDIR)/report.tmpl
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(LIBDIR)/mail $(DESTDIR)$(LIBDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DATADIR) $(DESTDIR)$(DOCDIR) 2>/dev/null
	rm -f $(patsubst units/systemd/%,$(DESTDIR)$(UNITDIR)/%,$(UNITS))
	rm -f $(DESTDIR)$(SYSUSERS)/bailiff.conf $(DESTDIR)$(TMPFILES)/bailiff.conf $(DESTDIR)$(CATALOG)/bailiff.catalog $(DESTDIR)$(POLKIT)/50-bailiff.rules
	rm -f $(DESTDIR)$(BASHDIR)/bailiff $(DESTDIR)$(ZSHDIR)/_bailiff $(DESTDIR)$(FISHDIR)/bailiff.fish $(addprefix $(DESTDIR),$(PAGES))
ifeq ($(DESTDIR),)
	rm -f /etc/systemd/system/bailiff-report.service.d/50-mail.conf /etc/systemd/system/bailiff.service.d/firewalld-only.conf
	rm -rf /run/bailiff /run/bailiff-report
	-rmdir --ignore-fail-on-non-empty /etc/systemd/system/bailiff-report.service.d /etc/systemd/system/bailiff.service.d 2>/dev/null
	-for u in bailiff bailiff-fetch bailiff-report; do userdel $$u; groupdel $$u 2>/dev/null; done
	-journalctl --update-catalog
	-systemctl daemon-reload
endif

clean:
	rm -rf bin
