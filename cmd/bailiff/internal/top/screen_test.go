package top

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"bailiff/cmd/bailiff/internal/cli"
)

// showView is what this program does when TestMain runs it once more on a terminal: a view that ends in different ways.
func showView(how string) {
	s, err := openScreen(os.Stdin, os.Stdout)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	defer s.close()
	s.draw([]string{"hello", "world"})
	for {
		select {
		case k := <-s.keys:
			switch {
			case how == "panic":
				panic("on purpose")
			case k == 'q':
				return
			}
			s.draw([]string{"key " + string(k)})
		case <-s.resized:
			c, l := cli.NewEnv(context.Background()).Size()
			s.draw([]string{"size", strings.Repeat("x", c%100), strings.Repeat("y", l%100)})
		}
	}
}

func startView(t *testing.T, x *terminal, how string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TERM_TEST="+how, "TERM=vt100")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.Line, x.Line, x.Line
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

func TestScreen(t *testing.T) {
	x := openTerminal(t, 80, 24)
	before := x.Modes()
	cmd := startView(t, x, "quit")
	at := x.Await("\x1b[?1049h", 0)
	at = x.Await("\x1b[Hhello\x1b[K\r\r\nworld\x1b[K\x1b[J", at)
	if x.Modes() == before {
		t.Error("the terminal still waits for whole lines")
	}
	x.Type("a") // without a line end
	at = x.Await("key a", at)
	x.Type("\x1b[A") // an arrow is no key of ours
	x.Type("b")
	at = x.Await("key b", at)
	if strings.Contains(x.Shown(), "key \x1b") {
		t.Error("an arrow was taken for a key")
	}
	x.Resize(33, 7)
	at = x.Await(strings.Repeat("x", 33)+"\x1b[K\r\r\n"+strings.Repeat("y", 7)+"\x1b[K", at)
	// When the program is stopped, the shell has its terminal back; when it continues, the view is there again.
	x.Type("\x1a")
	at = x.Await(leave, at)
	if x.Modes() != before {
		t.Error("stopped, the terminal is not as it was")
	}
	cmd.Process.Signal(syscall.SIGCONT)
	at = x.Await(enter, at)
	at = x.Await("size", at)
	x.Type("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	x.Await(leave, at)
	if x.Modes() != before {
		t.Error("the terminal is not as it was")
	}
}

// TestPanic: a panic is reported on a terminal that has been restored.
func TestPanic(t *testing.T) {
	x := openTerminal(t, 80, 24)
	before := x.Modes()
	cmd := startView(t, x, "panic")
	at := x.Await("world", 0)
	x.Type("x")
	if cmd.Wait() == nil {
		t.Error("it did not panic")
	}
	at = x.Await(leave, at)
	x.Await("panic: on purpose", at)
	if x.Modes() != before {
		t.Error("the terminal is not as it was")
	}
}

func TestNoTerminal(t *testing.T) {
	t.Setenv("TERM", "vt100")
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := openScreen(f, f); err == nil || err.Error() != "no terminal on standard output" {
		t.Error(err)
	}
	x := openTerminal(t, 80, 24)
	if _, err := openScreen(f, x.Line); err == nil || err.Error() != "no terminal on standard input" {
		t.Error(err)
	}
	t.Setenv("TERM", "dumb")
	if _, err := openScreen(x.Line, x.Line); err == nil || !strings.Contains(err.Error(), "move its cursor") {
		t.Error(err)
	}
}
