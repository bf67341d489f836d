package trust

import (
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for _, c := range []struct{ in, want, url string }{
		{"registry.lan:5000", "registry.lan:5000", "https://registry.lan:5000/v2/"},
		{"registry.lan", "registry.lan", "https://registry.lan/v2/"},
		{"registry.lan:443", "registry.lan:443", "https://registry.lan/v2/"},
		{"https://registry.lan:5000/", "registry.lan:5000", "https://registry.lan:5000/v2/"},
		{"localhost", "localhost", "https://localhost/v2/"},
		{"10.0.0.5:5000", "10.0.0.5:5000", "https://10.0.0.5:5000/v2/"},
		{"[fd00::1]:5000", "[fd00::1]:5000", "https://[fd00::1]:5000/v2/"},
		{"[FD00:0::1]", "[fd00::1]", "https://[fd00::1]/v2/"},
		{"fd00::1", "[fd00::1]", "https://[fd00::1]/v2/"},
	} {
		h, err := ParseHost(c.in)
		if err != nil || h.String() != c.want || h.url("/v2/") != c.url {
			t.Errorf("ParseHost(%q) = %q, %q, %v; want %q, %q", c.in, h, h.url("/v2/"), err, c.want, c.url)
		}
	}
	for in, why := range map[string]string{
		"":                        "no name",
		"registry":                "Docker Hub",
		"http://registry.lan":     "plain HTTP",
		"registry.lan/team/app":   "more than a registry",
		"a/../b":                  "more than a registry",
		"..":                      "no registry",
		"..:5000":                 "no registry",
		"a..b:5000":               "no registry",
		".lan:5000":               "no registry",
		"-a.lan:5000":             "no registry",
		`a\b.lan:5000`:            "no registry",
		"a b.lan":                 "no registry",
		"a.lan:5000\nb":           "a number",
		"a.lan:":                  "no registry",
		"a.lan:0":                 "a number",
		"a.lan:05000":             "a number",
		"a.lan:65536":             "a number",
		"a.lan:+1":                "a number",
		"a.lan:1:2":               "a number",
		"a.lan:$(reboot)":         "a number",
		"user@a.lan":              "no registry",
		"[fd00::1]5000":           "no registry",
		"[fd00::1]:":              "no registry",
		"[fe80::1%eth0]:5000":     "no registry",
		"[10.0.0.1]:5000":         "no registry",
		"[../../etc]:5000":        "more than a registry",
		"'a.lan":                  "no registry",
		strings.Repeat("a.", 200): "no registry",
	} {
		if h, err := ParseHost(in); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("ParseHost(%q) = %q, %v; want an error with %q", in, h, err, why)
		}
	}
}

func TestParseFingerprint(t *testing.T) {
	digits := strings.Repeat("0a", 32)
	want := "sha256:" + digits
	colons := strings.TrimSuffix(strings.Repeat("0A:", 32), ":")
	for _, in := range []string{want, digits, strings.ToUpper(want), colons, "sha256 Fingerprint=" + colons, " " + want + "\n"} {
		if got, err := ParseFingerprint(in); err != nil || got != want {
			t.Errorf("ParseFingerprint(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "sha256:", digits[1:], want + "00", strings.Repeat("zz", 32)} {
		if got, err := ParseFingerprint(in); err == nil {
			t.Errorf("ParseFingerprint(%q) = %q", in, got)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"registry.lan:5000", "[fd00::1]:5000", "a/../b", "https://x.y/", "::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			return
		}
		if name := h.String(); strings.ContainsAny(name, "/\\ '\"$`\n") || strings.Contains(name, "..") || name[0] == '.' {
			t.Errorf("ParseHost(%q) = %q, which is no safe name of a folder", s, name)
		}
		if again, err := ParseHost(h.String()); err != nil || again != h {
			t.Errorf("%q is read again as %q, %v", h, again, err)
		}
	})
}
