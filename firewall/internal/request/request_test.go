package request

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// links asks for the network interfaces of this namespace, which needs no privilege.
var links = netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Dump}, Data: make([]byte, unix.SizeofIfInfomsg)}

// TestDo: a dump ends by itself, a refusal is the kernel's number, and the answer to an earlier request is not taken for that
// to a later one.
func TestDo(t *testing.T) {
	c := New(unix.NETLINK_ROUTE)
	defer c.Close()
	count := func() (n int) {
		t.Helper()
		err := c.Do(t.Context(), links, func(typ netlink.HeaderType, data []byte) {
			if typ == unix.RTM_NEWLINK && len(data) > unix.SizeofIfInfomsg {
				n++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := count()
	if n == 0 {
		t.Error("no interface, not even lo")
	}
	nobody := netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK}, Data: make([]byte, unix.SizeofIfInfomsg)}
	binary.NativeEndian.PutUint32(nobody.Data[4:], math.MaxInt32) // ifi_index
	if err := c.Do(t.Context(), nobody, nil); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that does not exist: %v", err)
	}
	if _, err := c.nl.Send(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: nobody.Data}); err != nil {
		t.Fatal(err)
	}
	if again := count(); again != n {
		t.Errorf("%d interfaces, then %d", n, again)
	}
	refused := 0
	if err := c.Batch(t.Context(), []netlink.Message{nobody, nobody, nobody}, func(err error) {
		if errors.Is(err, unix.ENODEV) {
			refused++
		}
	}); err != nil || refused != 3 {
		t.Errorf("%d of 3 refused, %v", refused, err)
	}
}

// TestOthers: what another process sends to the socket is no answer, and time runs out where none comes.
func TestOthers(t *testing.T) {
	c := New(unix.NETLINK_USERSOCK)
	defer c.Close()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := c.open(ctx); err != nil {
		t.Fatal(err)
	}
	var at unix.Sockaddr
	if err := c.raw.Control(func(fd uintptr) { at, _ = unix.Getsockname(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	other, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	if err := unix.Sendto(other, []byte{20, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, at); err != nil {
		t.Skipf("this kernel lets no process send to another: %v", err)
	}
	err = c.receive(ctx, func(syscall.NetlinkMessage) bool {
		t.Error("another process's message was taken for the kernel's")
		return true
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// FuzzAttributes: no walk goes beyond its bytes, whatever the lengths say.
func FuzzAttributes(f *testing.F) {
	f.Add([]byte{8, 0, 1, 0x80, 8, 0, 1, 0})
	f.Add([]byte{20, 0, 1, 0x80, 16, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, v := range Attributes(b) {
			n += unix.SizeofNlAttr + len(v)
			for _, v := range Attributes(v) {
				_ = String(v)
			}
		}
		if n > len(b) {
			t.Errorf("%d bytes of attributes in %d", n, len(b))
		}
	})
}
