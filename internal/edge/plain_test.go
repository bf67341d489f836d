package edge

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPlainGuard(t *testing.T) {
	const html = "text/html,application/xhtml+xml;q=0.9"
	type want struct {
		status   int
		location string
		trust    string // in the body
	}
	next := want{status: http.StatusTeapot}
	for name, c := range map[string]struct {
		allow, public, method, url, remote, accept string
		tls                                        bool
		want                                       want
	}{
		"from this machine":                {"loopback", "", "PUT", "http://reg:5000/v2/", "127.0.0.1:9", "", false, next},
		"from this machine, IPv6":          {"loopback", "", "PUT", "http://reg:5000/v2/", "[::1]:9", "", false, next},
		"from this machine, IPv4 in IPv6":  {"loopback", "", "PUT", "http://reg:5000/v2/", "[::ffff:127.0.0.1]:9", "", false, next},
		"by a socket":                      {"loopback", "", "PUT", "http://reg:5000/v2/", "@", "", false, next},
		"by TLS":                           {"loopback", "", "PUT", "https://reg:5000/v2/", "10.0.0.7:9", "", true, next},
		"allowed":                          {"allow", "", "PUT", "http://reg:5000/v2/", "10.0.0.7:9", "", false, next},
		"from an allowed network":          {"10.0.0.0/24,fd00::/8", "", "PUT", "http://reg:5000/v2/", "10.0.0.7:9", "", false, next},
		"from an allowed network, IPv6":    {"10.0.0.0/24,fd00::/8", "", "PUT", "http://reg:5000/v2/", "[fd00::1]:9", "", false, next},
		"from another network":             {"10.0.0.0/24", "", "PUT", "http://reg:5000/v2/", "10.0.1.7:9", "", false, want{426, "", "reg:5000"}},
		"what leads to trust":              {"loopback", "", "GET", "http://reg:5000/trust/ca.crt", "10.0.0.7:9", "", false, next},
		"what leads to trust, in short":    {"loopback", "", "GET", "http://reg:5000/trust", "10.0.0.7:9", html, false, next},
		"what only looks so":               {"loopback", "", "GET", "http://reg:5000/trusted", "10.0.0.7:9", "", false, want{426, "", "reg:5000"}},
		"a client":                         {"loopback", "", "GET", "http://reg:5000/v2/", "10.0.0.7:9", "application/json", false, want{426, "", "reg:5000"}},
		"a client that names no port":      {"loopback", "", "GET", "http://reg/v2/a/manifests/b", "10.0.0.7:9", "", false, want{426, "", "reg"}},
		"a client, elsewhere":              {"loopback", "", "POST", "http://10.0.0.1:5000/api/v1/runs", "10.0.0.7:9", html, false, want{426, "", "10.0.0.1:5000"}},
		"a client, IPv6":                   {"loopback", "", "GET", "http://[fd00::2]:5000/v2/", "[fd00::1]:9", "", false, want{426, "", "[fd00::2]:5000"}},
		"a client, with a public address":  {"loopback", "reg.test:443", "GET", "http://10.0.0.1:5000/v2/", "10.0.0.7:9", "", false, want{426, "", "reg.test:443"}},
		"a browser":                        {"loopback", "", "GET", "http://reg:5000/ui//a%2Fb?c=d", "10.0.0.7:9", html, false, want{307, "https://reg:5000/ui//a%2Fb?c=d", ""}},
		"a browser, with a public address": {"loopback", "reg.test:443", "GET", "http://reg:5000/", "10.0.0.7:9", html, false, want{307, "https://reg.test:443/", ""}},
		"a browser with two slashes":       {"loopback", "", "GET", "http://reg:5000//evil.test/", "10.0.0.7:9", html, false, want{307, "https://reg:5000//evil.test/", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			allow, err := ParsePlainHTTP(c.allow)
			if err != nil {
				t.Fatal(err)
			}
			refusals := NewRefusals(slog.New(slog.DiscardHandler), "")
			g := &PlainGuard{Allow: allow, Public: c.public, Refusals: refusals, Next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
			r := httptest.NewRequest(c.method, c.url, nil)
			if r.RemoteAddr = c.remote; !c.tls {
				r.TLS = nil
			}
			r.Header.Set("Accept", c.accept)
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != c.want.status || w.Header().Get("Location") != c.want.location {
				t.Fatalf("status %d, Location %q; want %+v", w.Code, w.Header().Get("Location"), c.want)
			}
			if listed := len(refusals.List()) == 1; listed != (c.want.status == 426) {
				t.Errorf("refusals: %+v", refusals.List())
			}
			if c.want.status != 426 {
				return
			}
			message := w.Body.String()
			if strings.HasPrefix(r.URL.Path, "/v2/") {
				var body struct {
					Errors []struct{ Code, Message string }
				}
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code != "UNSUPPORTED" {
					t.Fatalf("%s, %v", w.Body, err)
				}
				message = body.Errors[0].Message
			}
			if !strings.Contains(message, "run: slipway trust "+c.want.trust) || !strings.Contains(message, "https://"+c.want.trust) {
				t.Errorf("message %q", message)
			}
			if w.Header().Get("Upgrade") != "TLS/1.2" || w.Header().Get("Connection") != "Upgrade" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

// What a client calls the server is not repeated where people would copy it.
func TestHostsThatAreNone(t *testing.T) {
	for host, want := range map[string]bool{
		"reg": true, "reg.test": true, "Reg-1.test.": true, "my_reg": true, "10.0.0.1": true, "::1": true, "xn--bcher-kva.test": true,
		"": false, "-x": false, ".reg": false, "a b": false, "$(reboot)": false, "a;b": false, "a`b`": false, "a\nb": false, "a/b": false, "fe80::1%eth0;reboot": false,
		"bücher.test": false, strings.Repeat("a", 254): false,
	} {
		if got := safeHost(host); got != host && want || got != "" && !want {
			t.Errorf("safeHost(%q) = %q", host, got)
		}
	}
	for hostport, want := range map[string]bool{
		"reg": true, "reg:5000": true, "10.0.0.1:80": true, "[::1]:80": true, "[::1]": true,
		"": false, "::1": false, "reg:": false, "reg:http": false, "reg:99999": false, "reg:80:80": false, "[reg]": false, "[::1": false, "[::1]x": false, "[fe80::1%25eth0]:80": false,
		"a b:80": false,
	} {
		if got := safeHostPort(hostport); got != hostport && want || got != "" && !want {
			t.Errorf("safeHostPort(%q) = %q", hostport, got)
		}
	}
}

func TestParseNetworks(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.0.0.0/8, fd00::/8 192.168.1.7": "10.0.0.0/8 fd00::/8 192.168.1.7/32", "::1": "::1/128", "": "",
	} {
		n, err := ParseNetworks(s)
		var got []string
		for _, p := range n {
			got = append(got, p.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"10.1.2.3/8": "did you mean 10.0.0.0/8, or 10.1.2.3/32", "reg": "is not a network", "10.0.0.0/33": "is not a network", "fe80::1%eth0": "is not a network",
	} {
		if _, err := ParseNetworks(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "yes", "10.0.0.0/8,allow"} {
		if _, err := ParsePlainHTTP(s); err == nil {
			t.Errorf("%q is no setting of plain HTTP", s)
		}
	}
}
