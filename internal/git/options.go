package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	connectTimeout = 30 * time.Second
	answerTimeout  = time.Minute
)

// Options says what Fetch brings, and how.
type Options struct {
	URL URL
	Dir string // where the mirrors and the LFS objects are kept

	// Credentials returns what a host (with its port, if it is in the address)
	// wants; "" for nothing. It is asked about the host of URL only, never
	// about those of submodules elsewhere, and over http:// only if
	// AllowPrivate says that the network is trusted.
	Credentials func(host string) (user, password string)

	SSHKey     []byte // a private key without a passphrase
	KnownHosts []byte // as in ssh's known_hosts; a host that is not in it is refused
	SSHAgent   string // socket of an agent, used instead of a key

	CA    []byte // certificates in PEM that are trusted in addition to the system's
	Proxy Proxy

	AllowLocal   bool // file:// addresses
	AllowPrivate bool // hosts in private networks and on this machine

	// Depth limits the history that is fetched; 0 is all of it, which gives the
	// same LastTouching everywhere.
	Depth int

	MaxEntries    int   // of a checkout; 0 is 200,000
	MaxBytes      int64 // of a checkout, with LFS objects; 0 is 16 GiB
	MaxSubmodules int   // 0 is 100
	MaxNesting    int   // of submodules; 0 is 8
}

// Proxy is where requests go through, as in the variables HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY.
type Proxy struct{ HTTP, HTTPS, No string }

func (o Options) withDefaults() Options {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&o.MaxEntries, 200_000)
	set(&o.MaxSubmodules, 100)
	set(&o.MaxNesting, 8)
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 30
	}
	return o
}

// login is what to send to the host of u.
func (o Options) login(u URL) (user, password string) {
	if u.Scheme != "https" && (u.Scheme != "http" || !o.AllowPrivate) {
		return "", ""
	}
	if u.password != "" {
		return u.user, u.password
	}
	if o.Credentials == nil {
		return "", ""
	}
	return o.Credentials(u.Host)
}

func (o Options) tls() (*tls.Config, error) {
	if len(o.CA) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("the extra CA certificates are not in PEM form")
	}
	return &tls.Config{RootCAs: pool}, nil
}

// systemCA is where distributions keep the certificates that they trust.
var systemCA = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}

// remote completes a call that talks to u. done removes what was written down
// for it.
func (o Options) remote(ctx context.Context, u URL, c call) (_ call, done func(), err error) {
	done = func() {}
	if u.Scheme == "file" && !o.AllowLocal {
		return c, done, fmt.Errorf("%w: %s is on this machine", ErrURL, u)
	}
	addresses, err := newGuard(o).pin(ctx, u)
	if err != nil {
		return c, done, err
	}
	host, port := splitPort(u)
	c.settings = append(c.settings, [2]string{"protocol." + u.Scheme + ".allow", "always"})
	switch u.Scheme {
	case "http", "https":
		if len(addresses) > 0 {
			var list []string
			for _, a := range addresses {
				s := a.String()
				if a.Is6() {
					s = "[" + s + "]"
				}
				list = append(list, s)
			}
			c.settings = append(c.settings, [2]string{"http.curloptResolve", host + ":" + port + ":" + strings.Join(list, ",")})
		}
		if user, password := o.login(u); user != "" || password != "" {
			basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
			c.settings = append(c.settings, [2]string{"http." + u.Scheme + "://" + u.Host + "/.extraHeader", "Authorization: Basic " + basic})
			c.secrets = append(c.secrets, basic, password, url.QueryEscape(password), url.PathEscape(password))
		}
		c.env = append(c.env, "http_proxy="+o.Proxy.HTTP, "https_proxy="+o.Proxy.HTTPS, "no_proxy="+o.Proxy.No)
		for _, p := range []string{o.Proxy.HTTP, o.Proxy.HTTPS} {
			if parsed, err := url.Parse(p); err == nil {
				secret, _ := parsed.User.Password()
				c.secrets = append(c.secrets, secret)
			}
		}
	case "ssh":
		return o.overSSH(u, c, host, port, addresses2strings(addresses))
	}
	if len(o.CA) > 0 {
		dir, remove, err := private0700()
		if err != nil {
			return c, done, err
		}
		bundle := o.CA
		for _, name := range systemCA {
			if b, err := os.ReadFile(name); err == nil {
				bundle = append(append(b, '\n'), o.CA...)
				break
			}
		}
		file := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(file, bundle, 0o600); err != nil {
			remove()
			return c, done, err
		}
		c.settings = append(c.settings, [2]string{"http.sslCAInfo", file})
		done = remove
	}
	return c, done, nil
}

func addresses2strings[T fmt.Stringer](list []T) (s []string) {
	for _, a := range list {
		s = append(s, a.String())
	}
	return s
}

// private0700 is a folder that only we can read, until remove is called.
func private0700() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "slipway-git-*")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// overSSH makes git use ssh with this key, these hosts, and nothing else of
// the machine's configuration.
func (o Options) overSSH(u URL, c call, host, port string, addresses []string) (call, func(), error) {
	dir, remove, err := private0700()
	if err != nil {
		return c, func() {}, err
	}
	hosts, key := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "key")
	ssh := []string{"ssh", "-F", os.DevNull, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + hosts, "-o", "GlobalKnownHostsFile=" + os.DevNull,
		"-o", "ConnectTimeout=30", "-o", "ClearAllForwardings=yes", "-o", "ForwardAgent=no", "-o", "PasswordAuthentication=no"}
	err = os.WriteFile(hosts, o.KnownHosts, 0o600)
	switch {
	case len(o.SSHKey) > 0:
		if k := strings.TrimRight(string(o.SSHKey), "\n") + "\n"; err == nil {
			err = os.WriteFile(key, []byte(k), 0o600)
		}
		ssh = append(ssh, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", key)
	case o.SSHAgent != "":
		ssh = append(ssh, "-o", "IdentityAgent="+o.SSHAgent, "-o", "IdentityFile=none")
	default:
		ssh = append(ssh, "-o", "IdentityAgent=none", "-o", "IdentityFile=none")
	}
	if len(addresses) > 0 {
		alias := host
		if port != "22" {
			alias = "[" + host + "]:" + port
		}
		ssh = append(ssh, "-o", "HostName="+addresses[0], "-o", "HostKeyAlias="+alias, "-o", "CheckHostIP=no")
	}
	if err != nil {
		remove()
		return c, func() {}, err
	}
	for i, word := range ssh {
		ssh[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	c.env = append(c.env, "GIT_SSH_COMMAND="+strings.Join(ssh, " "), "GIT_SSH_VARIANT=ssh")
	return c, remove, nil
}

// elsewhere is o for a submodule at u: only where URL itself is do its
// credentials apply.
func (o Options) elsewhere(u URL) Options {
	if u.Scheme == o.URL.Scheme && strings.EqualFold(net.JoinHostPort(splitPort(u)), net.JoinHostPort(splitPort(o.URL))) {
		if u.password == "" && u.Scheme != "ssh" {
			u.user, u.password = o.URL.user, o.URL.password
		}
	} else {
		o.Credentials, o.SSHKey, o.SSHAgent = nil, nil, ""
	}
	o.URL = u
	return o
}
