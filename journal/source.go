package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// maxFiles is how many journal files are looked at, as in libsystemd (JOURNAL_FILES_MAX). journald keeps 100 archived files
// at most by default.
const maxFiles = 7168

// Source says which journal files to read. It is made by Files, Dir or Host.
type Source struct {
	files []string
	dirs  []string
	host  *HostOptions
}

// HostOptions say what of a host's journal is read beside that of the machine itself.
type HostOptions struct {
	Root       string // stands before all paths; "" is the running system
	Namespaces bool   // MACHINE-ID.NAMESPACE: units with LogNamespace=
	Remote     bool   // the folder remote: what systemd-journal-remote received
	Containers bool   // folders of other machine ids: containers, and machines this one was once
	Users      bool   // user-UID.journal: what login users' own processes log
}

// Files is exactly these files. They are followed as they grow; a successor after a rotation is not looked for.
func Files(paths ...string) Source { return Source{files: paths} }

// Dir is all journal files in these folders and in their subfolders that are named for a machine id. New ones are found.
func Dir(paths ...string) Source { return Source{dirs: paths} }

// Host is the host's own journal, in /var/log/journal and in /run/log/journal. Folders that do not exist yet are
// found when they appear.
func Host(o HostOptions) Source { return Source{host: &o} }

// String says what is read, for messages.
func (s Source) String() string {
	switch {
	case s.host != nil && s.host.Root != "":
		return "the journal of the host under " + s.host.Root
	case s.host != nil:
		return "the host's journal"
	case len(s.dirs) > 0:
		return strings.Join(s.dirs, ", ")
	default:
		return strings.Join(s.files, ", ")
	}
}

// journalctl gives the arguments that make journalctl read the same.
func (s Source) journalctl() []string {
	var args []string
	if h := s.host; h != nil {
		if h.Root != "" {
			args = append(args, "--root="+h.Root)
		}
		if h.Namespaces {
			args = append(args, "--namespace=*")
		}
		if h.Remote || h.Containers {
			args = append(args, "--merge")
		}
		if !h.Users {
			args = append(args, "--system")
		}
		return args
	}
	for _, d := range s.dirs {
		args = append(args, "--directory="+d)
	}
	for _, f := range s.files {
		args = append(args, "--file="+f)
	}
	return args
}

func (s Source) check() error {
	if s.host == nil && len(s.files) == 0 && len(s.dirs) == 0 {
		return errors.New("no journal files, folders or host given")
	}
	return nil
}

// bases are the host's folders: what is stored, and what is gone with the boot.
func (h *HostOptions) bases() []string {
	return []string{filepath.Join(h.Root, "/var/log/journal"), filepath.Join(h.Root, "/run/log/journal")}
}

// machineID reads the host's own. A container that is being set up may not have one yet.
func (h *HostOptions) machineID() (ID128, error) {
	path := filepath.Join(h.Root, "/etc/machine-id")
	b, err := os.ReadFile(path)
	if err != nil {
		return ID128{}, fmt.Errorf("which journal is this host's own: %w", err)
	}
	id, err := ParseID128(strings.TrimSpace(string(b)))
	if err != nil {
		return ID128{}, fmt.Errorf("which journal is this host's own: %s: %w", path, err)
	}
	return id, nil
}

// listing is what a look at the source found: the folders to watch and the files to read.
type listing struct {
	watch    []watch
	files    []string
	problems []error
}

// watch is a folder that inotify shall tell of. A parent is watched for a folder that does not exist yet, not for what is
// written to the files in it.
type watch struct {
	path   string
	parent bool
}

// list looks at the source's folders. It never fails: what could not be read is among the problems.
func (s Source) list() listing {
	var l listing
	if s.host != nil {
		l.host(s.host)
	}
	for _, d := range s.dirs {
		l.base(d, func(string) bool { return true }, func(name string) bool {
			id, _, _ := strings.Cut(name, ".")
			return isID(id)
		})
	}
	for _, f := range s.files {
		l.files = append(l.files, f)
		l.watch = append(l.watch, watch{filepath.Dir(f), false})
	}
	if len(l.files) > maxFiles {
		l.problems = append(l.problems, fmt.Errorf("%s: %d journal files: only the first %d are read", s, len(l.files), maxFiles))
		l.files = l.files[:maxFiles]
	}
	return l
}

func (l *listing) host(h *HostOptions) {
	var own string
	if id, err := h.machineID(); err != nil {
		l.problems = append(l.problems, err)
		l.watch = append(l.watch, watch{filepath.Join(h.Root, "/etc"), true})
	} else {
		own = id.String()
	}
	wanted := func(file string) bool {
		return h.Users || strings.HasPrefix(file, "system.journal") || strings.HasPrefix(file, "system@")
	}
	for _, b := range h.bases() {
		l.base(b, func(string) bool { return false }, func(name string) bool {
			id, _, ns := strings.Cut(name, ".")
			switch {
			case !isID(id) || own == "":
				return false
			case id != own:
				return h.Containers && (!ns || h.Namespaces)
			default:
				return !ns || h.Namespaces
			}
		}, wanted)
		if h.Remote {
			l.dir(filepath.Join(b, "remote"), func(string) bool { return true }, nil)
		}
	}
}

// base lists a folder whose subfolders hold journals. Files at its own level count if topWanted says so, files of
// subfolders by fileWanted.
func (l *listing) base(path string, topWanted, subWanted func(string) bool, fileWanted ...func(string) bool) {
	want := topWanted
	if len(fileWanted) > 0 {
		want = fileWanted[0]
	}
	for _, sub := range l.dir(path, topWanted, subWanted) {
		l.dir(sub, want, nil)
	}
}

// dir lists one folder: its journal files that are wanted, and returns the subfolders that are.
func (l *listing) dir(path string, fileWanted, subWanted func(string) bool) (subs []string) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		// The nearest folder above that exists tells when it is made.
		for up := filepath.Dir(path); ; up = filepath.Dir(up) {
			if st, err := os.Stat(up); err == nil && st.IsDir() {
				l.watch = append(l.watch, watch{up, true})
				return nil
			}
			if up == filepath.Dir(up) {
				return nil
			}
		}
	}
	l.watch = append(l.watch, watch{path, false})
	if err != nil {
		l.problems = append(l.problems, err)
		return nil
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	for _, e := range entries {
		name := e.Name()
		full := filepath.Join(path, name)
		switch {
		case strings.HasSuffix(name, ".journal") || strings.HasSuffix(name, ".journal~"):
			if fileWanted(name) {
				l.files = append(l.files, full)
			}
		case subWanted != nil && subWanted(name):
			if st, err := os.Stat(full); err == nil && st.IsDir() {
				subs = append(subs, full)
			}
		}
	}
	return subs
}

func isID(s string) bool {
	_, err := ParseID128(s)
	return err == nil && len(s) == 32
}
