package mirror

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"slipway/internal/oci"
)

// Upstream is a registry that is mirrored.
type Upstream struct {
	// Name is the first part of its repositories' names here, such as
	// "docker.io".
	Name string
	// URL is where it is. Default https://NAME; Docker Hub's is known. A path
	// goes before the names of its repositories.
	URL string
	// Username and Password log in to it, if they are set.
	Username, Password string
	// TokenHosts are hosts beside the URL's own that may ask for the
	// credentials and hand out tokens. Docker Hub's is known.
	TokenHosts []string
}

const dockerHub = "docker.io"

// known are upstreams whose name does not say where they are.
var known = map[string]Upstream{
	dockerHub:             {URL: "https://registry-1.docker.io", TokenHosts: []string{"auth.docker.io"}},
	"registry.gitlab.com": {TokenHosts: []string{"gitlab.com"}},
}

// upstreams finds one by its name.
type upstreams struct {
	c      Config
	any    bool
	public http.RoundTripper // for those that nobody named

	mu       sync.Mutex
	named    map[string]*upstream // as configured
	unlisted map[string]*upstream
}

func newUpstreams(c Config) (*upstreams, error) {
	us := &upstreams{c: c, named: map[string]*upstream{}, unlisted: map[string]*upstream{}, any: c.Any, public: publicOnly(c.Transport)}
	for _, u := range c.Upstreams {
		if _, twice := us.named[u.Name]; twice {
			return nil, fmt.Errorf("upstream %s is named twice", u.Name)
		}
		made, err := newUpstream(c, u)
		if err != nil {
			return nil, err
		}
		us.named[u.Name] = made
	}
	return us, nil
}

// maxUnlisted bounds the upstreams that are known only because somebody asked.
const maxUnlisted = 1000

func (us *upstreams) find(name string) *upstream {
	us.mu.Lock()
	defer us.mu.Unlock()
	if u, ok := us.named[name]; ok {
		return u
	}
	if u, ok := us.unlisted[name]; ok || !us.any || !publicName(name) {
		return u
	}
	c := us.c
	c.Transport = us.public
	u, err := newUpstream(c, Upstream{Name: name})
	if err != nil {
		return nil
	}
	if len(us.unlisted) >= maxUnlisted {
		for old := range us.unlisted {
			delete(us.unlisted, old) // any: it costs a login at most
			break
		}
	}
	us.unlisted[name] = u
	return u
}

// publicName reports whether a name can be that of a registry that nobody
// configured: a domain, and not one of a local network.
func publicName(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || net.ParseIP(name) != nil {
		return false
	}
	switch name[i+1:] {
	case "local", "localhost", "localdomain", "internal", "lan", "home", "corp", "test", "invalid", "example", "arpa":
		return false
	}
	return strings.Trim(name[i+1:], "0123456789") != ""
}

// upstream is one of them at work.
type upstream struct {
	Upstream
	url       *url.URL        // without path
	prefix    string          // of its repositories' names there
	realms    map[string]bool // hosts that may hand out tokens
	client    *http.Client
	stall     time.Duration
	downloads chan struct{} // holds a token for each that may run

	tokens  tokens
	backoff backoff
}

// parallel is how many blobs come from one upstream at a time.
const parallel = 16

func newUpstream(c Config, u Upstream) (*upstream, error) {
	if err := oci.CheckRepository(u.Name); err != nil || strings.Contains(u.Name, "/") {
		return nil, fmt.Errorf("upstream %q cannot be the first part of a repository's name: use a host name such as ghcr.io, and url for its address", u.Name)
	}
	k := known[u.Name]
	if u.URL == "" {
		u.URL = k.URL
	}
	if u.URL == "" {
		u.URL = "https://" + u.Name
	}
	parsed, err := url.Parse(u.URL)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") || parsed.User != nil || parsed.RawQuery != "" {
		return nil, fmt.Errorf("upstream %s: url %q must be like https://host, http://host:port or https://host/path, without credentials", u.Name, redactURL(u.URL))
	}
	prefix := strings.Trim(parsed.Path, "/")
	if prefix != "" {
		if err := oci.CheckRepository(prefix); err != nil || prefix == "v2" {
			return nil, fmt.Errorf("upstream %s: the path of url %q must be what its repositories' names begin with there, without /v2", u.Name, redactURL(u.URL))
		}
		prefix += "/"
	}
	parsed.Path = ""
	if (u.Username == "") != (u.Password == "") {
		return nil, fmt.Errorf("upstream %s: username and password belong together", u.Name)
	}
	up := &upstream{
		Upstream: u, url: parsed, prefix: prefix, stall: c.Stall,
		realms:    map[string]bool{strings.ToLower(parsed.Host): true},
		downloads: make(chan struct{}, parallel),
	}
	for _, h := range append(k.TokenHosts, u.TokenHosts...) {
		up.realms[strings.ToLower(h)] = true
	}
	up.backoff.now = c.Now
	up.tokens.now = c.Now
	up.client = &http.Client{Transport: c.Transport, CheckRedirect: checkRedirect}
	return up, nil
}

func redactURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "(not a URL)"
}

const maxRedirects = 5

// checkRedirect follows an upstream to where it keeps its blobs: never from
// TLS to plain HTTP, and never with credentials to another host, be it a
// sub-domain (net/http would let those have them).
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirected from https to " + req.URL.Scheme)
	}
	if !sameHost(via[0].URL, req.URL) {
		req.Header.Del("Authorization")
	}
	req.Header.Del("Referer")
	return nil
}

func sameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}
