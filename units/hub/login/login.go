// Package login has the options of a connection to a fleet's hub, with which the client and nats-server authenticate each other. It is
// separate from package hub, which speaks no network protocol. Start reading at Options.
package login

import (
	"crypto/tls"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"bailiff/units/hub"
)

// Options are those of a connection by the user whose seed is given, to servers with certificates of a CA (PEM), and to no others that
// a server may name.
func Options(ca, seed string) ([]nats.Option, error) {
	pool, err := hub.Pool(ca)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	user, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return nil, fmt.Errorf("nkey: %w", err)
	}
	public, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("nkey: %w", err)
	}
	return []nats.Option{
		nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}),
		nats.Nkey(public, user.Sign),
		nats.IgnoreDiscoveredServers(),
	}, nil
}
