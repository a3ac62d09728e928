package evidence

import "testing"

func TestContainsAddress(t *testing.T) {
	for address, texts := range map[string]map[string]bool{
		"192.0.2.1": {
			"from 192.0.2.1 port 1": true, "from 192.0.2.1": true, "192.0.2.1": true, "[192.0.2.1]:25": true, "192.0.2.1:22": true, "by 192.0.2.1.": true, "::ffff:192.0.2.1": true,
			"192.0.2.10": false, "1192.0.2.1": false, "1.192.0.2.1": false, "192.0.2.1.5": false, "192.0.2.11 192.0.2.1": true, "": false,
		},
		"2001:db8::1": {
			"2001:db8::1 x": true, "[2001:db8::1]:22": true, "2001:db8::12": false, "2001:db8::1:2": false, "a2001:db8::1": false, "2001:db8::1: bad": true,
		},
	} {
		for text, want := range texts {
			if got := ContainsAddress([]byte(text), []byte(address)); got != want {
				t.Errorf("%q: %v", text, got)
			}
		}
	}
}
