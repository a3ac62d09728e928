package config

import (
	"net/mail"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for s, want := range map[string][2]bool{ // address, recipient
		"abuse@example.org":                      {true, true},
		"first.last+tag@sub.example.org":         {true, true},
		"root":                                   {false, true},
		"root@localhost":                         {false, true},
		"":                                       {false, false},
		"@example.org":                           {false, false},
		"a@":                                     {false, false},
		"-oQ/tmp@example.org":                    {false, false},
		"-v":                                     {false, false},
		"|sh":                                    {false, false},
		"/etc/passwd":                            {false, false},
		"a b@example.org":                        {false, false},
		"a@example.org\nBcc: x@example.org":      {false, false},
		"a@example.org, b@example.org":           {false, false},
		"\"a\"@example.org":                      {false, false},
		"a@[192.0.2.1]":                          {false, false},
		"a@b@example.org":                        {false, false},
		".a@example.org":                         {false, false},
		"a..b@example.org":                       {false, false},
		"a@example..org":                         {false, false},
		"a@-example.org":                         {false, false},
		"ä@example.org":                          {false, false},
		strings.Repeat("a", 65) + "@example.org": {false, false},
		"a@" + strings.Repeat("a.", 130) + "org": {false, false},
	} {
		if got := [2]bool{ValidAddress(s), ValidRecipient(s)}; got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

// net/mail reads each valid address as exactly that address.
func FuzzAddress(f *testing.F) {
	f.Add("abuse@example.org")
	f.Fuzz(func(t *testing.T, s string) {
		if !ValidAddress(s) {
			return
		}
		a, err := mail.ParseAddress(s)
		if err != nil || a.Address != s || a.Name != "" {
			t.Errorf("%q is read as %v, %v", s, a, err)
		}
	})
}
