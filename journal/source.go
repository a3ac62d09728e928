package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFiles is the number of journal files read, as in libsystemd (JOURNAL_FILES_MAX). By default journald keeps 100 archived files.
const maxFiles = 7168

// Source selects journal files. It is made by Files, Dir, Host or Paths.
type Source struct {
	files []string
	dirs  []string
	host  bool
	root  string
}

// Files selects exactly these files. They are followed as they grow, but their successors after a rotation are not read.
func Files(paths ...string) Source { return Source{files: paths} }

// Dir selects all journal files in these folders and in their subfolders named after a machine id. New files and folders are found when
// they appear.
func Dir(paths ...string) Source { return Source{dirs: paths} }

// Host selects what journald writes for the services of the host, in /var/log/journal and /run/log/journal: the files system*.journal of
// the host's machine id, including those of journal namespaces (units with LogNamespace=). Folders that do not exist yet are found
// when they appear. root is prepended to all paths; "" is the running system.
//
// Journals of login users, containers and remote machines are left out: anybody who controls one of these could write entries that look as
// if they came from a service of this host.
func Host(root string) Source { return Source{host: true, root: root} }

// Paths returns a Source like Files or Dir, depending on what the paths are; without paths, it is the journal of the running host.
func Paths(paths ...string) (Source, error) {
	var files, dirs []string
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return Source{}, err
		}
		if st.IsDir() {
			dirs = append(dirs, p)
		} else {
			files = append(files, p)
		}
	}
	switch {
	case len(paths) == 0:
		return Host(""), nil
	case len(files) > 0 && len(dirs) > 0:
		return Source{}, fmt.Errorf("%s is a file and %s is a folder; expected either files or folders", files[0], dirs[0])
	case len(dirs) > 0:
		return Dir(dirs...), nil
	}
	return Files(files...), nil
}

// String names the source in messages.
func (s Source) String() string {
	switch {
	case s.host && s.root != "":
		return "the journal of the host under " + s.root
	case s.host:
		return "the host's journal"
	case len(s.dirs) > 0:
		return strings.Join(s.dirs, ", ")
	default:
		return strings.Join(s.files, ", ")
	}
}

func (s Source) check() error {
	if !s.host && len(s.files) == 0 && len(s.dirs) == 0 {
		return errors.New("no journal files, folders or host given")
	}
	return nil
}

// machineID reads the host's machine id. A container that is being set up may not have one yet.
func (s Source) machineID() (ID128, error) {
	path := filepath.Join(s.root, "/etc/machine-id")
	b, err := os.ReadFile(path)
	if err != nil {
		return ID128{}, fmt.Errorf("cannot determine this host's machine ID: %w", err)
	}
	id, err := ParseID128(strings.TrimSpace(string(b)))
	if err != nil {
		return ID128{}, fmt.Errorf("cannot determine this host's machine ID: %s: %w", path, err)
	}
	return id, nil
}

// origin names the sequence of files that a file belongs to: the folder, which is named after a machine id and a namespace, and the name
// before the @ of rotated files. One journald writes such a sequence, file after file, in /run and in /var.
func origin(path string) string {
	name := filepath.Base(path)
	if i := strings.IndexByte(name, '@'); i >= 0 {
		name = name[:i]
	} else {
		name = strings.TrimSuffix(strings.TrimSuffix(name, "~"), ".journal")
	}
	folder := filepath.Base(filepath.Dir(path))
	if id, _, _ := strings.Cut(folder, "."); !isID(id) {
		folder = ""
	}
	return folder + "/" + name
}

// ordered reports whether the entries of an origin are in the order of the monotonic clock. journald writes them so; in files received
// from another host, the entries of several journals may be mixed.
func ordered(origin string) bool {
	name := filepath.Base(origin)
	return name == "system" || strings.HasPrefix(name, "user-")
}

// listing is the result of listing a source: folders to watch and files to read.
type listing struct {
	watch    []watch
	files    []string
	problems []problem
}

// watch is a folder to watch with inotify. A parent is watched for a folder that does not exist yet, not for writes to its files.
type watch struct {
	path   string
	parent bool
}

// list lists the source's folders. It never fails: errors are returned among the problems.
func (s Source) list() listing {
	var l listing
	any := func(string) bool { return true }
	if s.host {
		l.host(s)
	}
	for _, d := range s.dirs {
		for _, sub := range l.dir(d, any, func(name string) bool {
			id, _, _ := strings.Cut(name, ".")
			return isID(id)
		}) {
			l.dir(sub, any, nil)
		}
	}
	for _, f := range s.files {
		l.files = append(l.files, f)
		l.watch = append(l.watch, watch{filepath.Dir(f), false})
	}
	if len(l.files) > maxFiles {
		l.problem("", fmt.Errorf("%s: %d journal files; only the first %d are read", s, len(l.files), maxFiles))
		l.files = l.files[:maxFiles]
	}
	return l
}

func (l *listing) host(s Source) {
	id, err := s.machineID()
	if err != nil {
		path := filepath.Join(s.root, "/etc")
		l.problem(path, err)
		l.watch = append(l.watch, watch{path, true})
	}
	for _, base := range []string{"/var/log/journal", "/run/log/journal"} {
		for _, sub := range l.dir(filepath.Join(s.root, base), func(string) bool { return false }, func(name string) bool {
			machine, _, _ := strings.Cut(name, ".")
			return err == nil && machine == id.String()
		}) {
			l.dir(sub, func(name string) bool {
				return strings.HasPrefix(name, "system.journal") || strings.HasPrefix(name, "system@")
			}, nil)
		}
	}
}

func (l *listing) problem(path string, err error) {
	l.problems = append(l.problems, problem{path: path, err: err})
}

// dir lists one folder: it adds the journal files that are wanted, and returns the subfolders that are.
func (l *listing) dir(path string, fileWanted, subWanted func(string) bool) (subs []string) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		// The nearest existing parent shows when the folder is created.
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
	if errors.Is(err, fs.ErrPermission) {
		l.watch = append(l.watch, watch{filepath.Dir(path), false}) // inotify refuses the folder itself; its parent shows when its mode changes
	} else {
		l.watch = append(l.watch, watch{path, false})
	}
	if err != nil {
		l.problem(path, err)
		return nil
	}
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
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				l.problem(full, err)
			}
		}
	}
	return subs
}

func isID(s string) bool {
	_, err := ParseID128(s)
	return err == nil && len(s) == 32
}
