// Command serve runs peers inside a host under test. When it is ready, it prints its address on a line of its own. With -mode it
// changes how a running instance answers.
package main

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"bailiff/units/e2e/peers"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8780", "`ADDRESS:PORT`; reports travel unencrypted to loopback alone")
	key := flag.String("key", "peers-key", "of blocklist.de and AbuseIPDB")
	server := flag.String("server", "bailiff@mail.example.test", "as blocklist.de knows the host")
	secret := flag.String("secret", "whsec_cGVlcnMtc2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2g=", "of the webhook")
	file := flag.String("log", "", "`FILE` for JSON lines about what came; default: standard output")
	mode := flag.String("mode", "", "tell the one at -listen: `SERVICE=MODE` or SERVICE=MODE:TIMES")
	flag.Parse()
	if *mode != "" {
		return tell(*listen, *mode)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(*secret, "whsec_"))
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	var out io.Writer = os.Stdout
	if *file != "" {
		f, err := os.OpenFile(*file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "peers listen on %s\n", l.Addr())
	s := &http.Server{Handler: &peers.Peers{Key: *key, Server: *server, Secret: raw, Log: out}, ReadHeaderTimeout: 10 * time.Second}
	return s.Serve(l)
}

func tell(address, mode string) error {
	service, name, _ := strings.Cut(mode, "=")
	name, times, _ := strings.Cut(name, ":")
	res, err := http.PostForm("http://"+address+peers.ModePath, url.Values{"service": {service}, "mode": {name}, "times": {times}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(res.Body)
		return errors.Join(fmt.Errorf("%s: %s", res.Status, b), err)
	}
	return nil
}
