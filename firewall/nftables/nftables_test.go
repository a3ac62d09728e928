package nftables

import (
	"context"
	"errors"
	"testing"
	"time"

	"bailiff/firewall/contract"
)

// TestCapabilities runs the backend in the rights of the service.
func TestCapabilities(t *testing.T) { contract.Bare(t, bare) }

func bare(t *testing.T) {
	for _, block := range []string{"drop", "reject"} {
		b, err := New(Options{Scopes: contract.Scopes, Block: block})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reconcile(t.Context(), bansFrom(20_000)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Add(t.Context(), bansFrom(30_000)), b.Verify(t.Context())); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := b.Watch(ctx, func() {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch: %v", err)
		}
		stop()
		if err := b.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever others do elsewhere in nftables costs one look, and no alarm; our own changes cost none.
func TestGeneration(t *testing.T) {
	b := newBackend(t, Options{})
	t.Cleanup(func() {
		if err := b.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := b.Reconcile(t.Context(), bansFrom(10)); err != nil {
		t.Fatal(err)
	}
	if b.gen == 0 {
		t.Error("after a reconcile somebody else may have changed something")
	}
	if err := b.Add(t.Context(), bansFrom(20)); err != nil {
		t.Fatal(err)
	}
	if b.gen == 0 {
		t.Error("after an addition somebody else may have changed something")
	}
	contract.Run(t, "nft", "add table inet neighbour; delete table inet neighbour")
	before := b.gen
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if b.gen == before || b.gen == 0 {
		t.Errorf("generation %d, and %d after somebody else's transaction", before, b.gen)
	}
	contract.Run(t, "nft", "add element inet bailiff v4-32 { 192.0.2.200 }")
	if err := b.Add(t.Context(), bansFrom(21)); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context()); err == nil {
		t.Error("a foreign element between two of our transactions went unnoticed")
	}
}

// FuzzElements: whatever a message holds, reading it ends.
func FuzzElements(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{44, 0, 0, 0, 12, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24, 0, 3, 128, 20, 0, 1, 128, 12, 0, 1, 128, 8, 0, 1, 0, 192, 0, 2, 7, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, m []byte) {
		elements(m, func(key []byte, left uint32) {
			if len(key) > len(m) {
				t.Errorf("a key of %d bytes in %d", len(key), len(m))
			}
		})
	})
}
