//go:build libsystemd

package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"
	"golang.org/x/sys/unix"

	"bailiff/journal/journaltest"
)

// BenchmarkReplay judges the failures of 10,000 addresses, a fifth of the entries of a journal of 200,000 (or
// BAILIFF_BENCH_ENTRIES), with the command itself in a process of its own; beside it libsystemd reads no more than MESSAGE of
// the same entries. It prints entries per second of CPU for both, their ratio, and the command's highest anonymous memory.
func BenchmarkReplay(b *testing.B) {
	all := 200_000
	if s := os.Getenv("BAILIFF_BENCH_ENTRIES"); s != "" {
		var err error
		if all, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	files := journaltest.Write(b, filepath.Join(dir, "bench.journal"), journaltest.Layout{}, journaltest.Gen{Entries: all, SSHD: 0.2, Failures: true, Sources: 10_000})
	for _, f := range files { // in the page cache as reading fills it, not as the writer's mapping left it
		fd, err := os.Open(f)
		if err == nil {
			err = unix.Fdatasync(int(fd.Fd()))
		}
		if err == nil {
			err = unix.Fadvise(int(fd.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, bufio.NewReaderSize(fd, 1<<20))
		}
		if err != nil {
			b.Fatal(err)
		}
		fd.Close()
	}
	exe := filepath.Join(b.TempDir(), "bailiff")
	if out, err := exec.Command("go", "build", "-o", exe, "bailiff/cmd/bailiff").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	conf := filepath.Join(dir, "bailiff.yaml")
	if err := os.WriteFile(conf, []byte("{}\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var ours, sd, anon float64
	for range b.N {
		cmd := exec.Command(exe, "replay", "--json", "--config", conf, "--jail", "sshd", "--file", dir)
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		stop := make(chan struct{})
		peak := make(chan float64)
		go watchAnon(cmd.Process.Pid, stop, peak)
		err := cmd.Wait()
		close(stop)
		anon = max(anon, <-peak)
		if err != nil {
			b.Fatal(err)
		}
		var sum summary
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil || sum.Kind != "summary" || sum.Bans == 0 {
			b.Fatalf("%v: %s", err, lines[len(lines)-1])
		}
		u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		ours = max(ours, float64(sum.Entries)/time.Duration(u.Utime.Nano()+u.Stime.Nano()).Seconds())
		sd = max(sd, bareReading(b, files, int(sum.Entries)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours, "entries/cpu-s")
	b.ReportMetric(sd, "libsystemd-entries/cpu-s")
	b.ReportMetric(ours/sd, "ratio")
	b.ReportMetric(anon/(1<<20), "MiB-anon")
}

// watchAnon follows the anonymous memory of a process until stop, and gives its peak in bytes.
func watchAnon(pid int, stop chan struct{}, peak chan float64) {
	var most float64
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-stop:
			peak <- most
			return
		case <-t.C:
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			var kb float64
			if _, err := fmt.Sscanf(s.Text(), "RssAnon: %f kB", &kb); err == nil {
				most = max(most, kb*1024)
			}
		}
		f.Close()
	}
}

// bareReading reads MESSAGE of every entry with libsystemd, and gives entries per second of CPU.
func bareReading(b *testing.B, files []string, want int) float64 {
	j, err := sdjournal.NewJournalFromFiles(files...)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	if err := j.AddMatch("_SYSTEMD_UNIT=ssh.service"); err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_THREAD, &before)
	n := 0
	for {
		k, err := j.Next()
		if err != nil {
			b.Fatal(err)
		}
		if k == 0 {
			break
		}
		if _, err := j.GetDataBytes("MESSAGE"); err != nil {
			b.Fatal(err)
		}
		n++
	}
	syscall.Getrusage(syscall.RUSAGE_THREAD, &after)
	if n != want {
		b.Fatalf("libsystemd read %d entries, want %d", n, want)
	}
	return float64(n) / time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()).Seconds()
}
