package filter

import (
	"runtime"
	"testing"
)

// TestBuiltin reads every filter that comes with the program as an operator's own would be: with the forgery test and its
// test lines.
func TestBuiltin(t *testing.T) {
	for _, name := range Builtin() {
		t.Run(name, func(t *testing.T) {
			data, err := BuiltinSource(name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse("builtin/"+name+".yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			if f.Name != name {
				t.Errorf("its name is %q", f.Name)
			}
		})
	}
}

// TestIdle: filters of services that write nothing take little memory, since most hosts have few of the services.
func TestIdle(t *testing.T) {
	sharedFragments()
	var filters []*Filter
	kib := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc >> 10)
	}
	before := kib()
	for _, name := range Builtin() {
		f, err := readBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f.With(Additions{Units: []string{"other.service"}}))
	}
	idle := kib() - before
	for _, f := range filters {
		for _, m := range f.matchers {
			m.MatchMessage([]byte("x"), new(Hit))
		}
	}
	if used := kib() - before; idle > 1024 || used < 2*idle {
		t.Errorf("%d filters take %d KiB, %d KiB once they have seen a line", len(filters), idle, used)
	} else {
		t.Logf("%d filters take %d KiB, %d KiB once they have seen a line", len(filters), idle, used)
	}
	runtime.KeepAlive(filters)
}
