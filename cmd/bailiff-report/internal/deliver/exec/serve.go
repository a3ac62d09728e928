package exec

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"bailiff/policy/config"
	"bailiff/units/peer"
)

const (
	sendTime = 10 * time.Second // for the request
	stayTime = 2 * time.Second  // for output of processes that the program leaves behind
)

// Server is one instance of bailiff-report-exec@.service.
type Server struct {
	Load    func() (*config.Report, error) // loads the configuration
	Allowed func(uid uint32) bool          // says who may connect, besides root
	Env     []string                       // for the program
}

// Serve runs the program for one connection. Problems with the program or the configuration are in the answer; an error is about the
// connection.
func (s *Server) Serve(ctx context.Context, c *net.UnixConn) error {
	defer c.Close()
	caller, err := peer.Of(c)
	if err != nil {
		return err
	}
	if caller.UID != 0 && !s.Allowed(caller.UID) {
		return reply(c, &answer{Error: fmt.Sprintf("user %d may not connect", caller.UID)})
	}
	if err := c.SetReadDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	name, body, err := read(c)
	if err != nil {
		return errors.Join(err, reply(c, &answer{Error: err.Error()}))
	}
	d, err := s.find(name)
	if err != nil {
		return reply(c, &answer{Error: err.Error()})
	}
	return reply(c, run(ctx, d, body, append(slices.Clone(s.Env), "BAILIFF_DESTINATION="+d.Name)))
}

func reply(c net.Conn, a *answer) error {
	b, err := json.Marshal(a)
	if err == nil {
		_, err = c.Write(b)
	}
	return err
}

// read reads a request.
func read(c io.Reader) (name string, body []byte, err error) {
	r := bufio.NewReaderSize(c, maxRequest)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", nil, fmt.Errorf("the request cannot be read: %w", err)
	}
	var q request
	if err := json.Unmarshal(line, &q); err != nil {
		return "", nil, fmt.Errorf("the request cannot be read: %w", err)
	}
	body, err = io.ReadAll(io.LimitReader(r, maxReport+1))
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("the report cannot be read: %w", err)
	case len(body) > maxReport:
		return "", nil, fmt.Errorf("the report has more than %d bytes", maxReport)
	case !json.Valid(body):
		return "", nil, errors.New("the report is not JSON") // perhaps incomplete: no program must get half of one
	}
	return q.Destination, body, nil
}

// find looks up a destination in the current configuration.
func (s *Server) find(name string) (*config.Destination, error) {
	conf, err := s.Load()
	if err != nil {
		return nil, err
	}
	for i := range conf.Destinations {
		if d := &conf.Destinations[i]; d.Name == name && d.Type == config.TypeExec && d.Enabled && len(d.Command) > 0 {
			return d, nil
		}
	}
	return nil, fmt.Errorf("the configuration has no enabled destination %.40q of type exec", name)
}

// run runs the program, up to its time limit.
func run(ctx context.Context, d *config.Destination, body []byte, env []string) *answer {
	ctx, cancel := context.WithTimeout(ctx, d.TimeLimit)
	defer cancel()
	var out output
	cmd := exec.CommandContext(ctx, d.Command[0], d.Command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", env, bytes.NewReader(body), &out, &out
	// The whole process group is killed. systemd would kill it, too, but only after the answer.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = stayTime
	if err := cmd.Start(); err != nil {
		return &answer{Error: err.Error()}
	}
	err := cmd.Wait() // ProcessState has the result; a program need not read all of its input
	if cmd.ProcessState == nil {
		return &answer{Error: err.Error()}
	}
	a := &answer{Status: cmd.ProcessState.ExitCode(), Output: out.kept, TimeOut: errors.Is(ctx.Err(), context.DeadlineExceeded)}
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		a.Signal = st.Signal().String()
	}
	if a.TimeOut && a.Signal == "" {
		a.TimeOut = false // it ended just in time
	}
	return a
}

// output keeps the beginning of what a program writes and discards the rest.
type output struct{ kept []byte }

func (o *output) Write(p []byte) (int, error) {
	o.kept = append(o.kept, p[:min(len(p), maxOutput-len(o.kept))]...)
	return len(p), nil
}

// Environment is the environment of the program: that of the unit without variables for systemd.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		for _, p := range []string{"LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_", "REMOTE_"} {
			if strings.HasPrefix(s, p) {
				return true
			}
		}
		return false
	})
}
