package edge

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOrigin(t *testing.T) {
	const refused = "refused"
	for name, c := range map[string]struct {
		remote  string
		headers string // "Name: value", one a line
		want    string // client scheme host [proxied]
	}{
		"no proxy":                          {"203.0.113.9:1", "", "203.0.113.9 http reg:5000"},
		"a stranger's headers":              {"203.0.113.9:1", "X-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nForwarded: for=127.0.0.1", "203.0.113.9 http reg:5000"},
		"a proxy that tells nothing":        {"10.0.0.2:1", "", "10.0.0.2 http reg:5000"},
		"a proxy":                           {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https\nX-Forwarded-Host: reg.test", "203.0.113.9 https reg.test proxied"},
		"a proxy that keeps the host":       {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https", "203.0.113.9 https reg:5000 proxied"},
		"a proxy without TLS":               {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: http", "203.0.113.9 http reg:5000 proxied"},
		"IPv4 in IPv6":                      {"[::ffff:10.0.0.2]:1", "X-Forwarded-For: ::ffff:203.0.113.9", "203.0.113.9 http reg:5000 proxied"},
		"a client that says it is local":    {"10.0.0.2:1", "X-Forwarded-For: 127.0.0.1, 203.0.113.9", "203.0.113.9 http reg:5000 proxied"},
		"junk from the client":              {"10.0.0.2:1", "X-Forwarded-For: <script>, 203.0.113.9", "203.0.113.9 http reg:5000 proxied"},
		"junk in several lines":             {"10.0.0.2:1", "X-Forwarded-For: 127.0.0.1\nX-Forwarded-For: 203.0.113.9", "203.0.113.9 http reg:5000 proxied"},
		"the proxy's machine itself":        {"10.0.0.2:1", "X-Forwarded-For: 127.0.0.1", "127.0.0.1 http reg:5000 proxied"},
		"two proxies":                       {"10.0.0.2:1", "X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.0.0.3\nX-Forwarded-Proto: https", "203.0.113.9 https reg:5000 proxied"},
		"two proxies, each told its scheme": {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9, 10.0.0.3\nX-Forwarded-Proto: https, http", "203.0.113.9 https reg:5000 proxied"},
		"only proxies":                      {"10.0.0.2:1", "X-Forwarded-For: 10.0.0.4, 10.0.0.3", "10.0.0.4 http reg:5000 proxied"},
		"a port":                            {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9:4711", "203.0.113.9 http reg:5000 proxied"},
		"IPv6":                              {"10.0.0.2:1", "X-Forwarded-For: 2001:db8::1", "2001:db8::1 http reg:5000 proxied"},
		"IPv6 in brackets":                  {"10.0.0.2:1", "X-Forwarded-For: [2001:db8::1]", "2001:db8::1 http reg:5000 proxied"},
		"IPv6 and a port":                   {"10.0.0.2:1", "X-Forwarded-For: [2001:db8::1]:4711", "2001:db8::1 http reg:5000 proxied"},
		"Traefik's web sockets":             {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: wss", "203.0.113.9 https reg:5000 proxied"},
		"empty parts":                       {"10.0.0.2:1", "X-Forwarded-For: , 203.0.113.9 ,,\nX-Forwarded-Proto: HTTPS,", "203.0.113.9 https reg:5000 proxied"},
		"Forwarded":                         {"10.0.0.2:1", `Forwarded: for=127.0.0.1, for=203.0.113.9;proto=https;host="reg.test:443";by=_x`, "203.0.113.9 https reg.test:443 proxied"},
		"Forwarded with IPv6":               {"10.0.0.2:1", `Forwarded: For="[2001:db8::1]:4711";Proto=http`, "2001:db8::1 http reg:5000 proxied"},
		"Forwarded, a comma in quotes":      {"10.0.0.2:1", `Forwarded: for="127.0.0.1, for=1.1.1.1" , for=203.0.113.9`, "203.0.113.9 http reg:5000 proxied"},
		"both, and they agree":              {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https\nForwarded: for=203.0.113.9", "203.0.113.9 https reg:5000 proxied"},

		"both, and they differ":              {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nForwarded: for=127.0.0.1", refused},
		"both, and the schemes differ":       {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: http\nForwarded: for=203.0.113.9;proto=https", refused},
		"both, one longer":                   {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nForwarded: for=127.0.0.1, for=203.0.113.9", refused},
		"the proxy wrote no address":         {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9, unknown", refused},
		"a hidden address":                   {"10.0.0.2:1", "Forwarded: for=_hidden", refused},
		"a scheme without a client":          {"10.0.0.2:1", "X-Forwarded-Proto: https", refused},
		"another way to name the client":     {"10.0.0.2:1", "X-Real-Ip: 203.0.113.9", refused},
		"a scheme that is none":              {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: gopher", refused},
		"schemes that differ":                {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https\nX-Forwarded-Proto: http", refused},
		"a host that is none":                {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Host: reg/../x", refused},
		"hosts that differ":                  {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Host: evil.test, reg.test", refused},
		"a port that is none":                {"10.0.0.2:1", "X-Forwarded-For: 203.0.113.9:http", refused},
		"a zone":                             {"10.0.0.2:1", "X-Forwarded-For: fe80::1%eth0", refused},
		"Forwarded that ends in quotes":      {"10.0.0.2:1", `Forwarded: for="203.0.113.9`, refused},
		"Forwarded that names nobody":        {"10.0.0.2:1", `Forwarded: proto=https`, refused},
		"Forwarded that names two":           {"10.0.0.2:1", `Forwarded: for=203.0.113.9;for=127.0.0.1`, refused},
		"Forwarded with more behind quotes":  {"10.0.0.2:1", `Forwarded: for="203.0.113.9"127.0.0.1`, refused},
		"Forwarded that is something else":   {"10.0.0.2:1", `Forwarded: 203.0.113.9`, refused},
		"a local proxy that tells no client": {"127.0.0.1:1", "X-Forwarded-Host: reg.test", refused},
	} {
		t.Run(name, func(t *testing.T) {
			got := refused
			config := Config{Log: slog.New(slog.DiscardHandler), Proxies: Proxies{mustNetworks(t, "10.0.0.0/29,127.0.0.1")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				o := OriginOf(r)
				got = o.Client.String() + " " + o.Scheme + " " + o.Host
				if o.Proxied {
					got += " proxied"
				}
				if o.Local() != (!o.Proxied && o.Client.IsLoopback()) {
					t.Errorf("%+v is local: %v", o, o.Local())
				}
				for _, name := range forwardedHeaders {
					if r.Header.Get(name) != "" {
						t.Errorf("the handler sees %s", name)
					}
				}
			})}
			r := httptest.NewRequest("GET", "http://reg:5000/", nil)
			r.RemoteAddr = c.remote
			for line := range strings.SplitSeq(c.headers, "\n") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					r.Header.Add(name, value)
				}
			}
			w := httptest.NewRecorder()
			config.ServeHTTP(w, r)
			if got != c.want || (w.Code == http.StatusBadRequest) != (c.want == refused) {
				t.Errorf("got  %s (status %d)\nwant %s", got, w.Code, c.want)
			}
		})
	}
}

// The access log names the client, and a refused request in it names nobody
// whom the headers made up.
func TestOriginInAccessLog(t *testing.T) {
	log := &logBuffer{}
	config := Config{Log: slog.New(slog.NewTextHandler(log, nil)), Access: true, Proxies: Proxies{mustNetworks(t, "10.0.0.2")}, Handler: http.NotFoundHandler()}
	for _, client := range []string{"203.0.113.9", "junk"} {
		r := httptest.NewRequest("GET", "http://reg:5000/", nil)
		r.RemoteAddr = "10.0.0.2:1"
		r.Header.Set("X-Forwarded-For", client)
		config.ServeHTTP(httptest.NewRecorder(), r)
	}
	s := log.String()
	if !strings.Contains(s, "status=404 in=0 out=19") || !strings.Contains(s, "remote=203.0.113.9 ") || !strings.Contains(s, "status=400") || !strings.Contains(s, "remote=10.0.0.2 ") {
		t.Errorf("log:\n%s", s)
	}
}

// Whatever headers come, a client that the proxy names on the right is the
// client, or the request is refused. No part to its left matters.
func FuzzOrigin(f *testing.F) {
	f.Add("127.0.0.1", "https", "for=1.1.1.1", "reg")
	f.Add("a, b", "https, http", `for="a,b`, "reg, evil")
	f.Add(`"`, "", `for=x;proto=\`, "[::1]:1")
	p := Proxies{mustNetworks(f, "10.0.0.2")}
	f.Fuzz(func(t *testing.T, left, proto, standard, host string) {
		r := httptest.NewRequest("GET", "http://reg:5000/", nil)
		r.RemoteAddr = "10.0.0.2:1"
		r.Header.Add("X-Forwarded-For", left)
		r.Header.Add("X-Forwarded-For", "203.0.113.9")
		r.Header.Add("X-Forwarded-Proto", proto)
		r.Header.Add("X-Forwarded-Host", host)
		r.Header.Add("Forwarded", standard)
		known, err := p.origin(r)
		if err != nil {
			return
		}
		o := OriginOf(known)
		if o.Client.String() != "203.0.113.9" || !o.Proxied || o.Local() || (o.Scheme != "http" && o.Scheme != "https") || safeHostPort(o.Host) == "" {
			t.Errorf("%+v", o)
		}
	})
}

func mustNetworks(t testing.TB, s string) Networks {
	t.Helper()
	n, err := ParseNetworks(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
