package filter

import "testing"

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
