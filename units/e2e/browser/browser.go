// Package browser drives a real Chromium in tests, over the DevTools protocol on two pipes
// (https://chromedevtools.github.io/devtools-protocol/): no driver program and no library is needed. Start reading at Start.
//
// Everything that a page must not do is collected as a fault: violations of its Content-Security-Policy, uncaught exceptions, errors on
// the console, and requests to other hosts.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrMissing means that no Chromium is installed.
var ErrMissing = errors.New("chromium is not installed")

// Browser is a running Chromium with one page. Its methods may be called from any goroutine.
type Browser struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	profile string
	session string
	ended   chan struct{}

	mu     sync.Mutex
	next   int
	calls  map[int]chan answer
	faults []string
	ours   []string // hosts that the page may contact
}

type message struct {
	ID        int             `json:"id,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

type answer struct {
	result json.RawMessage
	err    error
}

// Options of Start.
type Options struct {
	Before []string // a program and its arguments that run Chromium, such as nsenter
	Hosts  []string // host:port that the page may contact; a request to any other is a fault
	Width  int      // of the window; default 1100
	Height int      // default 800
}

// violations makes a console error of each violation of a page's policy.
const violations = `addEventListener('securitypolicyviolation', (e) => console.error('CSP: ' + e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));`

// Start starts Chromium with an empty profile and an empty page. Close ends it.
func Start(ctx context.Context, o Options) (*Browser, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, ErrMissing
	}
	b := &Browser{calls: make(map[int]chan answer), ended: make(chan struct{}), ours: o.Hosts}
	if b.profile, err = os.MkdirTemp("", "bailiff-chromium-"); err != nil {
		return nil, err
	}
	if o.Width == 0 {
		o.Width, o.Height = 1100, 800
	}
	args := append(slices.Clone(o.Before), path, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-quic", "--disable-gpu", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--disable-extensions", "--hide-scrollbars",
		"--user-data-dir="+b.profile, fmt.Sprintf("--window-size=%d,%d", o.Width, o.Height), "about:blank")
	b.cmd = exec.Command(args[0], args[1:]...)
	var said bytes.Buffer
	b.cmd.Stderr = &said
	b.cmd.Env = append(os.Environ(), "HOME="+b.profile, "TZ=UTC")
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b.in = ourOut
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	if err := b.cmd.Start(); err != nil {
		os.RemoveAll(b.profile)
		return nil, fmt.Errorf("chromium: %w", err)
	}
	theirIn.Close()
	theirOut.Close()
	go b.read(ourIn)
	if err := b.open(ctx, o); err != nil {
		b.Close()
		return nil, fmt.Errorf("chromium: %w\n%s", err, said.String())
	}
	return b, nil
}

func (b *Browser) open(ctx context.Context, o Options) error {
	var target struct{ TargetID string }
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var session struct{ SessionID string }
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session); err != nil {
		return err
	}
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if err := b.Call(ctx, domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return errors.Join(b.Look(ctx, o.Width, o.Height, false), b.Call(ctx, "Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": violations}, nil))
}

// Close ends Chromium.
func (b *Browser) Close() {
	b.in.Close()
	b.cmd.Process.Kill()
	b.cmd.Wait()
	<-b.ended
	os.RemoveAll(b.profile)
}

// read takes messages, which end with a zero byte.
func (b *Browser) read(from io.Reader) {
	defer close(b.ended)
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			for _, c := range b.calls {
				c <- answer{err: errors.New("chromium has ended")}
			}
			b.calls = nil
			b.mu.Unlock()
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		if m.ID == 0 {
			b.event(&m)
			continue
		}
		b.mu.Lock()
		c := b.calls[m.ID]
		delete(b.calls, m.ID)
		b.mu.Unlock()
		if c == nil {
			continue
		}
		if m.Error != nil {
			c <- answer{err: errors.New(m.Error.Message)}
		} else {
			c <- answer{result: m.Result}
		}
	}
}

// event collects faults.
func (b *Browser) event(m *message) {
	var e struct {
		Type  string
		Args  []struct{ Value any }
		Entry struct{ Level, Text, URL string }

		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Request struct{ URL string }
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	switch m.Method {
	case "Runtime.exceptionThrown":
		b.fault("exception: " + e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description)
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "assert" {
			b.fault(fmt.Sprint("console: ", e.Args))
		}
	case "Log.entryAdded":
		if e.Entry.Level == "error" {
			b.fault("log: " + e.Entry.Text + " " + e.Entry.URL)
		}
	case "Network.requestWillBeSent":
		rest, isHTTP := strings.CutPrefix(strings.Replace(e.Request.URL, "https:", "http:", 1), "http://")
		if host, _, _ := strings.Cut(rest, "/"); isHTTP && !slices.Contains(b.ours, host) {
			b.fault("request to another host: " + e.Request.URL)
		}
	}
}

func (b *Browser) fault(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) < 100 {
		b.faults = append(b.faults, text)
	}
}

// Faults returns what has gone wrong since the last call.
func (b *Browser) Faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.faults
	b.faults = nil
	return l
}

// Call calls a method of the protocol for the page.
func (b *Browser) Call(ctx context.Context, method string, params map[string]any, result any) error {
	return b.call(ctx, b.session, method, params, result)
}

func (b *Browser) call(ctx context.Context, session, method string, params map[string]any, result any) error {
	if params == nil {
		params = map[string]any{}
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	c := make(chan answer, 1)
	b.mu.Lock()
	if b.calls == nil {
		b.mu.Unlock()
		return errors.New("chromium has ended")
	}
	b.next++
	id := b.next
	b.calls[id] = c
	text, err := json.Marshal(message{ID: id, Method: method, Params: raw, SessionID: session})
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-c:
		if a.err != nil {
			return fmt.Errorf("%s: %w", method, a.err)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// Go loads a page. If only the part after # in the address changes, the attribute data-ready is removed from elements of class view, so
// that a wait for it does not end before the page has changed.
func (b *Browser) Go(ctx context.Context, url string) error {
	if _, fragment, ok := strings.Cut(url, "#"); ok {
		quoted, err := json.Marshal("#" + fragment)
		if err != nil {
			return err
		}
		if err := b.Eval(ctx, `if (location.hash !== `+string(quoted)+`) document.querySelectorAll('.view').forEach((e) => e.removeAttribute('data-ready'))`, nil); err != nil {
			return err
		}
	}
	var r struct{ ErrorText string }
	if err := b.Call(ctx, "Page.navigate", map[string]any{"url": url}, &r); err != nil {
		return err
	}
	if r.ErrorText != "" {
		return fmt.Errorf("%s: %s", url, r.ErrorText)
	}
	return nil
}

// Eval evaluates an expression in the page, waits for a promise, and returns the result as JSON.
func (b *Browser) Eval(ctx context.Context, expression string, result any) error {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := b.Call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r); err != nil {
		return err
	}
	if x := r.ExceptionDetails; x != nil {
		return fmt.Errorf("%.200s: %s %s", expression, x.Text, x.Exception.Description)
	}
	if result == nil || r.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, result)
}

// Until waits until an expression is true. ctx bounds the wait. An expression that throws is not true yet.
func (b *Browser) Until(ctx context.Context, expression string) error {
	for {
		var ok bool
		err := b.Eval(ctx, "!!("+expression+")", &ok)
		if ok && err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-b.ended:
			return errors.New("chromium has ended")
		case <-ctx.Done():
			var seen string
			late, done := context.WithTimeout(context.Background(), 5*time.Second)
			defer done()
			b.Eval(late, "location.href + ' ' + document.body.innerText", &seen)
			return fmt.Errorf("never true: %s (%v); the page shows: %.2000s", expression, err, seen)
		}
	}
}

// Screenshot writes the visible part of the page to a PNG file, or the whole page if full is set.
func (b *Browser) Screenshot(ctx context.Context, file string, full bool) error {
	var r struct{ Data string }
	if err := b.Call(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": full, "optimizeForSpeed": false}, &r); err != nil {
		return err
	}
	png, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, png, 0o644)
}

// Look sets the size of the page and whether it is shown dark.
func (b *Browser) Look(ctx context.Context, width, height int, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	err := b.Call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	return errors.Join(err, b.Call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme", "value": scheme}}}, nil))
}
