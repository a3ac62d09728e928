# make build     static binaries into bin/
# make check     vet, staticcheck, unit tests with fewer random cases: under four minutes
# make test      everything: make check's with the race detector, the oracle, real hosts under attack (root, Debian)
# make prove     hosts whose daemons are killed a thousand times, another whose clock is set, and fuzzing: an hour (root, Debian)
# make demo      a throw-away host, attacked before your eyes (root, Debian)
# make install   onto this machine, or below DESTDIR=; make uninstall takes it away again
# make bench     all benchmarks, beside their peers where those are installed
# make dist      packages for Debian, rpm and Arch, tarballs, check sums: into dist/
# make deps      what the tests need, from apt (root, Debian)

# sudo's path seldom holds the place where Go's own installer puts it.
export PATH := $(PATH):/usr/local/go/bin

# One build of the standard library serves the programs, what examines them and their tests, but for the race detector, which needs cgo.
# Nothing here speaks HTTP/2, which would add half a megabyte to each program.
export GOFLAGS := $(sort -trimpath -tags=nethttpomithttp2 $(GOFLAGS))
export CGO_ENABLED := 0

COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)$(if $(shell git status --porcelain --untracked-files=no 2>/dev/null),-dirty)
LDFLAGS  = -s -w $(if $(COMMIT),-X bailiff/units/version.Commit=$(COMMIT))
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Of bullseye only the host, of forky the host, mail and firewalld: systemd 247 to 262, firewalld 1.3 to 2.5.
E2E = bullseye bookworm trixie forky
# The packages that have files for libsystemd, and how they are built.
LIBSYSTEMD = CGO_ENABLED=1 'GOFLAGS=-trimpath -tags=libsystemd,nethttpomithttp2'
TAGGED = ./journal ./cmd/bailiff/internal/replay

DEB_DEMO = mmdebstrap debian-archive-keyring systemd-container iproute2 util-linux
DEB_TEST = $(DEB_DEMO) systemd-journal-remote ipset nftables iptables libsystemd-dev pkg-config gcc libc6-dev scdoc sqlite3 python3 shellcheck dash lintian rpm chromium fonts-dejavu-core rpmlint qemu-user-static prometheus prometheus-alertmanager python3-prometheus-client nats-server
# For a virtual machine, which has a clock of its own.
DEB_PROVE = qemu-system-x86 e2fsprogs openssh-client

# However a run ends, what it started ends with it: a test that boots hosts ends when go test does, and that with make.
HELD = exec setpriv --pdeathsig KILL env

.PHONY: build check test without-hosts vet staticcheck lint unit race alone oracle e2e prove prove-clock fuzz bench demo deps deps-demo deps-prove install uninstall man dist reproducible upgrades emulated changelog clean

build:
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

# Two at a time: what waits leaves the processors to what does not. Compilers and what examines the code take a quarter less time if they
# collect garbage less often; bailiffd, whose memory is measured, sets its own limit.
check: export GOGC := 400
check:
	$(MAKE) -j2 unit vet staticcheck

# Programs are built while packages are installed, and the demo's host runs beside those of the tests.
test:
	$(MAKE) -j2 deps build
	$(MAKE) without-hosts
	$(MAKE) -j2 demo e2e

without-hosts:
	$(HELD) $(MAKE) -j2 race vet staticcheck lint alone oracle emulated

# Tests are run without it: it has seen them here.
vet:
	go vet ./...
	test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt them'; exit 1; }

staticcheck:
	go run $(STATICCHECK) ./...

# Exported names have comments.
lint:
	go run github.com/mgechev/revive@v1.9.0 -config .revive.toml -set_exit_status ./...

# More packages at once than there are processors: some wait most of the time, for the kernel to end bans. Those that take longest come
# first, so that none of them is left over at the end.
SLOW = ./cmd/bailiffd/internal/daemon ./cmd/bailiff-report/internal/dispatch ./cmd/bailiff ./firewall/ipset ./firewall/nftables
unit:
	go test -short -vet=off -p 6 -parallel 8 -timeout 30m $(SLOW) ./...
	$(SKIPPED)

# Where one goroutine does everything the race detector finds nothing, and takes five times as long: in policy (but for stories, which
# run side by side), in fail2ban and packaging, as cmd/rooms_test.go checks, in the model of the queue and in a reader of damaged journal
# files. Memory measured with it means nothing.
ALONE = ^Test(Model|QueueSurvives|QueueDamaged|BlockListMemory|Mutations|DayAway)$$
race:
	all=$$(go list ./...) && CGO_ENABLED=1 go test -exec 'env CGO_ENABLED=0' -vet=off -race -p 4 -parallel 8 -timeout 30m -skip '$(ALONE)' $(SLOW) ./policy/stories \
	  $$(echo "$$all" | grep -vE '^bailiff/(policy|cmd/bailiff/internal/fail2ban|units/packaging)(/|$$)')
	$(SKIPPED)

alone:
	go test -vet=off -timeout 30m ./units/packaging/... ./cmd/bailiff/internal/fail2ban/... ./policy/...
	go test -vet=off -timeout 30m -run '$(ALONE)' ./cmd/bailiff-report/internal/dispatch ./cmd/bailiffd/internal/daemon ./journal ./cmd/bailiff-fleet/internal/agent

# Captures of real hosts and sample lines of others are no part of the project: without them their tests are skipped, which go test
# does not say.
SHARED = $${BAILIFF_SHARED:-../shared}
SKIPPED = @test -d "$(SHARED)" || echo "skipped: $$(go test -v -run '^Test(Captures|ExportCaptures|TranslatedCorpus|Yardstick.*)$$' \
	./journal ./policy/filter ./cmd/bailiff/internal/fail2ban | grep -c -e '--- SKIP') tests of captures and sample lines: there is no $(SHARED)"

# Formats of journal, state and firewall on other processors: s390x is big-endian, and has other structures of the kernel than amd64, as
# arm64 has, which make prove adds. The emulator runs no copies of a test, once hung when TestPanic forked, has no netfilter and gives
# another address for a page beyond the end of a file, so EMULATED_NOT are left out, as are tests of behaviour that need speed or take
# minutes there. The user namespace makes tests that need a firewall skip themselves.
PROCESSOR = s390x
QEMU = qemu-$(PROCESSOR:arm64=aarch64)-static
EMULATED = ./journal/... ./policy/state ./policy/prefix ./policy/codec ./firewall/internal/... ./firewall/conn ./firewall/ipset ./firewall/nftables
EMULATED_NOT = ^Test(Panic|Live|Newer.*|CurrentBoot|TruncatedAtEnd|Others|Do|Mutations|ExportOfJournalctl|InflateBomb|Table|HistoryBounded)$$
emulate = GOARCH=$(PROCESSOR) go test -vet=off -timeout 20m -exec 'unshare --user --map-user=65534 --map-group=65534 $(QEMU)'
emulated: deps
	$(emulate) -skip '$(EMULATED_NOT)' $(EMULATED)
	$(emulate) -run '^Test(OldState|DamagedCounts|.*Keeps.*|Captures)$$' ./policy ./policy/filter

# The journal reader against libsystemd itself, which needs cgo and its headers, and what vet and staticcheck say of that code.
oracle:
	env $(LIBSYSTEMD) go vet $(TAGGED)
	go run -exec "env $(LIBSYSTEMD)" $(STATICCHECK) $(TAGGED)
	env $(LIBSYSTEMD) go test -vet=off -run Oracle ./journal/...

# All tests at once: of those with hosts five have their turn, those that take longest first (takeTurn).
e2e: build
	$(HELD) BAILIFF_E2E='$(E2E)' go test -vet=off -count=1 -parallel 100 -timeout 60m ./units/e2e/...

# Two hosts side by side, ipset and firewalld, and then a virtual machine. DAEMON=20 REPORTER=5 CLOCK=5 FLEET=2m takes a quarter of an hour.
DAEMON = 1000
REPORTER = 200
CLOCK = 12
FLEET = 1h
SEED = 1
prove: deps deps-prove build fuzz
	$(MAKE) emulated PROCESSOR=arm64
	$(HELD) BAILIFF_E2E=trixie go test -count=1 -timeout 100m -v -run '^TestProve$$' ./units/e2e -prove.daemon=$(DAEMON) -prove.reporter=$(REPORTER) -prove.seed=$(SEED)
	$(HELD) BAILIFF_E2E=trixie go test -count=1 -timeout 150m -v -run '^TestProveFleet$$' ./units/e2e -prove.fleet=$(FLEET) -prove.seed=$(SEED)
	$(PROVE_CLOCK)

# The part that sets the clock of the virtual machine.
prove-clock: deps deps-prove build
	$(PROVE_CLOCK)

define PROVE_CLOCK
$(HELD) BAILIFF_E2E_MACHINE=1 go test -count=1 -timeout 20m -run '^TestNoMachineStays$$' ./units/e2e/host
$(HELD) BAILIFF_E2E=trixie go test -count=1 -timeout 100m -v -run '^TestProveClock$$' ./units/e2e -prove.clock=$(CLOCK) -prove.seed=$(SEED)
endef

# Each fuzz test for so many executions. What it has found of interest stays in Go's cache; what fails, in testdata/fuzz.
FUZZ = 20000
fuzz:
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' . | sort | while IFS=: read -r file f; do \
	  go test -run '^$$' -fuzz "^$${f#func }$$" -fuzztime $(FUZZ)x -fuzzminimizetime 10x "$${file%/*}" || exit; done

# Benchmarks of all packages, then latency and idling on a real host.
bench: deps build
	env $(LIBSYSTEMD) go test -run '^$$' -bench . ./...
	BAILIFF_BENCH=1 go test -count=1 -v -run TestMemory ./cmd/bailiffd/internal/daemon
	$(HELD) BAILIFF_E2E=bookworm BAILIFF_BENCH=1 go test -count=1 -timeout 15m -v -run 'TestPeer|TestHost/.*/^(starts|idle|latency|crowd)$$' ./units/e2e
	$(HELD) BAILIFF_E2E=trixie BAILIFF_BENCH=1 go test -count=1 -timeout 30m -v -run TestFirewalls ./units/e2e
	$(HELD) BAILIFF_E2E=trixie BAILIFF_BENCH=1 go test -count=1 -timeout 30m -v -run TestPageCost ./units/e2e

demo: deps-demo build
	go run ./units/e2e/demo

# $(call apt,PACKAGES): installs what is missing, when it can; otherwise says what to do.
apt = @missing=; for p in $(1); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	test -z "$$missing" && exit 0; \
	if test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null; then echo "missing:$$missing (as root: make $@)" >&2; exit 1; fi; \
	echo "installing$$missing"; \
	apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

deps:
	$(call apt,$(DEB_TEST))

deps-prove:
	$(call apt,$(DEB_PROVE))

deps-demo:
	$(call apt,$(DEB_DEMO))

# What is installed where: units/packaging/files. The directories can be set: make install PREFIX=/usr/local DESTDIR=/tmp/stage
# UNITDIR=… (see units/packaging/install.sh).
install: build man
	sh units/packaging/install.sh install

uninstall:
	sh units/packaging/install.sh remove

# Packages, tarballs, the source with its dependencies, an apt repository, check sums: into dist/. SIGN= names a gpg key.
SIGN =
dist:
	go run ./units/packaging/dist $(if $(SIGN),-sign '$(SIGN)')

# A release built twice for all architectures, from two checkouts, and compared: a quarter of an hour. CI does it for one.
reproducible: deps
	BAILIFF_DIST=amd64,arm64,armv7,riscv64 go test -count=1 -timeout 60m -v -run '^TestRelease$$' ./units/packaging/dist

# From the package of each release so far to this one, under attack, and back.
upgrades: deps
	$(HELD) BAILIFF_E2E=trixie BAILIFF_UPGRADES=1 go test -count=1 -timeout 90m -v -run '^TestUpgrades$$' ./units/e2e

# What units/changelog/unreleased adds to CHANGELOG.md; with RELEASE=1.0.0, written into it.
RELEASE =
changelog:
	@go run ./units/changelog/assemble $(if $(RELEASE),-release '$(RELEASE)')

# Manual pages, if scdoc is there. Their first line asks man(1) to run tbl(1).
man:
	if command -v scdoc >/dev/null; then mkdir -p bin/man; for f in units/man/*.scd; do p=$${f##*/}; \
	  { printf "'\\\\\" t\n" && scdoc <$$f; } >bin/man/$${p%.scd} || exit; done; \
	else echo 'no scdoc: manual pages are left out'; fi

clean:
	rm -rf bin dist
