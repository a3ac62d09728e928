package top

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNoTerminal means that there is no terminal, or one that cannot show a view.
var errNoTerminal = errors.New("no terminal")

const (
	enter = "\x1b[?1049h\x1b[?25l\x1b[2J" // the other screen, no cursor, cleared
	leave = "\x1b[?25h\x1b[?1049l"
)

// screen is a terminal that shows a view: it uses the alternate screen, reads keys as they are pressed, and restores the
// terminal at the end. It needs only the control sequences that every terminal since the VT100 and xterm knows (ECMA-48), and no
// terminfo; bubbletea or tcell would bring 20 modules for the same. Its methods may be called from any goroutine.
type screen struct {
	in, out *os.File
	mu      sync.Mutex
	before  unix.Termios
	raw     bool
	closed  bool
	signals chan os.Signal
	resized chan struct{} // everything has to be drawn again: the size has changed, or the program was continued
	keys    chan byte     // that are typed, without the sequences of arrow and function keys; closed when the terminal is gone
}

// openScreen takes over a terminal. The caller defers close, which restores it even after a panic; signals that end the program must
// lead to close, too.
func openScreen(in, out *os.File) (*screen, error) {
	if t := os.Getenv("TERM"); t == "" || t == "dumb" {
		return nil, fmt.Errorf("%w that can move its cursor (TERM=%q)", errNoTerminal, t)
	}
	s := &screen{in: in, out: out, signals: make(chan os.Signal, 4), resized: make(chan struct{}, 1), keys: make(chan byte, 16)}
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err != nil {
		return nil, fmt.Errorf("%w on standard output", errNoTerminal)
	}
	t, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%w on standard input", errNoTerminal)
	}
	s.before = *t
	signal.Notify(s.signals, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT)
	if err := s.enter(); err != nil {
		s.close()
		return nil, err
	}
	go s.watch()
	go s.read()
	return s, nil
}

// enter shows the alternate screen and makes keys arrive one by one.
func (s *screen) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.raw {
		return nil
	}
	t := s.before
	t.Lflag &^= unix.ICANON | unix.ECHO // Ctrl-C and Ctrl-Z still send signals
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, &t); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	s.raw = true
	_, err := s.out.WriteString(enter)
	return err
}

// restore puts the terminal back into its previous state. s.mu is held.
func (s *screen) restore() {
	if s.raw {
		s.raw = false
		s.out.WriteString(leave)
		unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, &s.before)
	}
}

// close restores the terminal. It may be called more than once.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restore()
	if !s.closed {
		s.closed = true
		signal.Stop(s.signals)
		close(s.signals)
	}
}

// watch handles the terminal's signals: a new size, and Ctrl-Z, for which the terminal is restored until the program continues.
func (s *screen) watch() {
	for sig := range s.signals {
		if sig == unix.SIGTSTP {
			s.mu.Lock()
			s.restore()
			s.mu.Unlock()
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			continue
		}
		if sig == unix.SIGCONT {
			if s.enter() != nil {
				continue
			}
		}
		select {
		case s.resized <- struct{}{}:
		default:
		}
	}
}

// read sends typed keys to s.keys.
func (s *screen) read() {
	defer close(s.keys)
	b := make([]byte, 64)
	for {
		n, err := s.in.Read(b)
		if err != nil || n == 0 {
			return
		}
		for _, c := range plain(b[:n]) {
			s.keys <- c
		}
	}
}

// plain removes what arrow and function keys send: ESC [ or ESC O, up to a byte from @ to ~.
func plain(b []byte) (keys []byte) {
	for i := 0; i < len(b); i++ {
		if b[i] != 0x1b {
			keys = append(keys, b[i])
			continue
		}
		if i++; i < len(b) && (b[i] == '[' || b[i] == 'O') {
			for i++; i < len(b) && (b[i] < '@' || b[i] > '~'); i++ {
			}
		}
	}
	return keys
}

// draw replaces what is shown by lines, in one write so that nothing flickers. Lines must not contain control characters
// other than colours, and must fit the terminal.
func (s *screen) draw(lines []string) error {
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l)
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.raw {
		return nil
	}
	_, err := s.out.WriteString(b.String())
	return err
}
