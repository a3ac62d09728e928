package firewalltest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"bailiff/firewall"
)

// BenchmarkReads measures what reading costs a backend that holds want: Verify, List, Inspect, and a Reconcile that finds
// nothing to do.
func BenchmarkReads(b *testing.B, be firewall.Backend, want []firewall.Ban) {
	for name, read := range map[string]func(context.Context) error{
		"Verify": be.Verify,
		"List": func(ctx context.Context) error {
			_, err := be.List(ctx)
			return err
		},
		"Inspect": func(ctx context.Context) error {
			in, err := be.Inspect(ctx, want)
			if err == nil && !in.OK() {
				err = errors.New(Differs(in))
			}
			return err
		},
		"Reconcile": func(ctx context.Context) error {
			ch, err := be.Reconcile(ctx, want)
			if err == nil && ch.Added+ch.Removed+ch.Refreshed != 0 {
				err = fmt.Errorf("%+v", ch)
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := read(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
