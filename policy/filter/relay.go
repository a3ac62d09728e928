package filter

import "bytes"

// Relay tells whether an entry is a line of a container's output, and who forwarded it.
type Relay uint8

// Who wrote or forwarded an entry.
const (
	Direct    Relay = iota // not forwarded: the process in the entry's fields wrote it
	Forwarded              // container output, or claims to be; its container fields are not trusted
	Vouched                // container output from root's log driver: CONTAINER_NAME and CONTAINER_TAG are trusted
	Attached               // output of podman run, whose lines conmon has also written to the journal
)

// The log drivers that write to the journal.
var (
	conmon  = executables("/usr/bin/conmon", "/usr/sbin/conmon", "/usr/libexec/podman/conmon", "/usr/lib/podman/conmon", "/usr/local/bin/conmon", "/usr/local/libexec/podman/conmon", "/usr/local/lib/podman/conmon")
	dockerd = executables("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/snap/docker/*/bin/dockerd")
)

func executables(list ...string) (l []Exe) {
	for _, p := range list {
		l = append(l, Exe{-1, p})
	}
	return l
}

// RelayOf recognizes container output by the writer of the entry. named reports that it has a field such as CONTAINER_NAME. Any
// program can write these, so they make an entry less trusted, never more.
func RelayOf(comm, exe, unit []byte, uid int64, named bool) Relay {
	base := exe[bytes.LastIndexByte(exe, '/')+1:]
	base, _ = bytes.CutSuffix(base, deleted)
	is := func(name string) bool { return string(comm) == name || string(base) == name }
	driver := func(name string, at []Exe) bool {
		return uid == 0 && string(comm) == name && (len(exe) == 0 || runBy(at, exe, uid))
	}
	switch {
	case len(comm) == 0 && len(exe) == 0 && !named:
		return Direct
	case is("podman"):
		return Attached
	case named && (driver("conmon", conmon) || driver("dockerd", dockerd) && (string(unit) == "docker.service" || string(unit) == "snap.docker.dockerd.service")):
		return Vouched
	case named || is("conmon") || is("dockerd") || is("docker") || is("nerdctl"):
		return Forwarded
	}
	return Direct
}
