package fail2ban

import (
	"testing"
)

func TestMask(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"blocklist_de_apikey", "s3cret", masked},
		{"abuseipdb_apikey", "s3cret", masked},
		{"cftoken", "s3cret", masked},
		{"smtp_password", "", ""},
		{"failregex", "bad token from <HOST>", "bad token from <HOST>"},
		{"action", `x[abuseipdb_apikey="s3cret", port=22]`, "x[abuseipdb_apikey=" + masked + ", port=22]"},
		{"action", `x[key='s3 cret'][botToken=s3cret]`, "x[key=" + masked + "][botToken=" + masked + "]"},
		{"action", `x[url="https://hooks.example.org/services/s3cret"]`, `x[url="https://hooks.example.org/` + masked + `"]`},
		{"url", "https://u:s3cret@h.example.org/x", "https://h.example.org/" + masked},
		{"", `"x[apikey=\"s3 cret\"] y" is not an option`, `"x[apikey=` + masked + `] y" is not an option`},
		{"", `"apikey='s3cret, x=1" is not of the form option=value`, `"apikey=` + masked},
		{"", `its option apikey="s3cret" is unknown`, "its option apikey=" + masked + " is unknown"},
	} {
		if got := mask(c.name, c.value); got != c.want {
			t.Errorf("%s = %s: %s, want %s", c.name, c.value, got, c.want)
		}
	}
}
