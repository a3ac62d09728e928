package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bailiff/units/atomicfile"
	"bailiff/units/hosts"
)

const (
	maxConfig  = 1 << 20 // bytes read of a service's configuration file
	maxConfigs = 200     // files read of a service: a web server may have one for each site
	maxFiles   = 4096    // open files looked at for a service
)

// place is a line of a configuration file.
type place struct {
	file  string
	line  int // from 1
	text  string
	value string // where the line sends the log
}

func (p place) String() string { return p.file + ":" + strconv.Itoa(p.line) }

// configured reads where the configuration of a service sends a log: the lines that name the journal, and those that name
// another place in files that do not name the journal, too.
func configured(root string, l *hosts.Log) (toJournal, elsewhere []place) {
	n := 0
	for _, pattern := range l.Config {
		files, _ := filepath.Glob(filepath.Join(root, pattern)) // the patterns are constants, and tested
		for _, file := range files {
			if n++; n > maxConfigs {
				return toJournal, elsewhere
			}
			data, err := atomicfile.Read(file, maxConfig, 0)
			if err != nil {
				continue
			}
			j, e := scan(strings.TrimPrefix(file, root), string(data), l)
			if toJournal = append(toJournal, j...); len(j) == 0 {
				elsewhere = append(elsewhere, e...)
			}
		}
	}
	return toJournal, elsewhere
}

func scan(file, text string, l *hosts.Log) (toJournal, elsewhere []place) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		p := place{file: file, line: number, text: strings.TrimSpace(line)}
		if l.Journal != nil && l.Journal.MatchString(line) {
			toJournal = append(toJournal, p)
		} else if l.Elsewhere != nil {
			if m := l.Elsewhere.FindStringSubmatch(line); m != nil {
				p.value = strings.Trim(m[1], `"';`)
				elsewhere = append(elsewhere, p)
			}
		}
	}
	return toJournal, elsewhere
}

// changeIn is the file for a change: the first that exists, else the first whose folder exists.
func changeIn(root string, c *hosts.Change) string {
	for _, file := range append(slices.Clone(c.Where), c.Create...) {
		if _, err := os.Stat(filepath.Join(root, file)); err == nil {
			return file
		}
	}
	for _, file := range c.Create {
		if _, err := os.Stat(filepath.Dir(filepath.Join(root, file))); err == nil {
			return file
		}
	}
	return ""
}

// logFile is what the name of a log file looks like.
var logFile = regexp.MustCompile(`(?i)^/.*(?:[._-]log|/main\.log|/logs?/[^/]+)$`)

// openLogs lists the log files that the processes of a control group have open for writing. Only root sees those of others.
func openLogs(root, group string) (files []string) {
	n := 0
	for _, pid := range processes(root, group) {
		dir := filepath.Join(root, "/proc", pid, "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if n++; n > maxFiles {
				return files
			}
			name, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err != nil || !logFile.MatchString(name) || strings.HasPrefix(name, "/var/log/journal/") || slices.Contains(files, name) || !writable(filepath.Join(root, "/proc", pid, "fdinfo", fd.Name())) {
				continue
			}
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

// writable reads from a file of /proc/PID/fdinfo whether the descriptor was opened for writing.
func writable(fdinfo string) bool {
	data, err := atomicfile.Read(fdinfo, 64<<10, 0)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if f, ok := strings.CutPrefix(line, "flags:"); ok {
			v, err := strconv.ParseUint(strings.TrimSpace(f), 8, 64)
			return err == nil && v&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// processes lists the processes of a control group and those below it.
func processes(root, group string) (pids []string) {
	if group == "" || group == "/" {
		return nil
	}
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		top := filepath.Join(root, mount, group)
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				if data, err := atomicfile.Read(path, maxConfig, 0); err == nil {
					pids = append(pids, strings.Fields(string(data))...)
				}
			}
			return nil
		})
		if len(pids) > 0 {
			return pids
		}
	}
	return nil
}
