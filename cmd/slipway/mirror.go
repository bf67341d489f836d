//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"slipway/internal/auth"
	"slipway/internal/mirror"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// mirrorSettings are the settings of the pull-through cache.
type mirrorSettings struct {
	upstreams      upstreamList
	maxAge         time.Duration
	maxSize        byteSize
	offline        bool
	caCertificates stringList
}

const spoolFolder = "mirror"

func (s *mirrorSettings) addFlags(f *pflag.FlagSet) {
	s.maxSize = 50 << 30
	_ = s.upstreams.Set("docker.io,ghcr.io,quay.io,registry.k8s.io,gcr.io,mcr.microsoft.com,public.ecr.aws")
	f.Var(&s.upstreams, "mirror.upstreams", "registries that are mirrored below their own names: NAME or NAME=URL, comma-separated; * is every public one, none is none; the configuration file takes a list with credentials")
	f.DurationVar(&s.maxAge, "mirror.max-age", time.Hour, "how long a mirrored tag is served before its registry is asked again; 0 asks each time")
	f.Var(&s.maxSize, "mirror.max-size", "mirrored content that is kept, by last use; 0 is no limit")
	f.BoolVar(&s.offline, "mirror.offline", false, "serve only mirrored content that is here, and ask no other registry")
	f.Var(&s.caCertificates, "ca-certificates", "files of certificate authorities (PEM) that this server trusts beside the system's when it connects to others, comma-separated")
}

func (s *mirrorSettings) check() error {
	if s.maxAge < 0 {
		return fmt.Errorf("mirror.max-age is %s: it must not be negative", s.maxAge)
	}
	return nil
}

// open makes the mirror of a data folder.
func (s *mirrorSettings) open(data string, r *registry.Registry, manifestLimit byteSize, log *slog.Logger) (*mirror.Mirror, error) {
	transport, err := outgoing(s.caCertificates)
	if err != nil {
		return nil, usageError{err}
	}
	c := mirror.Config{
		Registry: r, Log: log, MaxAge: s.maxAge, MaxSize: int64(s.maxSize), Offline: s.offline,
		ManifestLimit: int64(manifestLimit), Spool: filepath.Join(data, spoolFolder), Transport: transport,
	}
	for _, u := range s.upstreams.list {
		if u.Name == "*" {
			c.Any = true
			continue
		}
		password, err := u.password()
		if err != nil {
			return nil, usageError{err}
		}
		c.Upstreams = append(c.Upstreams, mirror.Upstream{Name: u.Name, URL: u.URL, Username: u.Username, Password: password, TokenHosts: u.TokenHosts})
	}
	m, err := mirror.Open(c)
	if err != nil {
		return nil, usageError{fmt.Errorf("mirror.upstreams: %w", err)}
	}
	return m, nil
}

// outgoing is the transport to other servers: HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY count, and certificate authorities beside the system's.
func outgoing(files []string) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	if len(files) == 0 {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ca-certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca-certificates: %s has no certificate: it must have PEM blocks, -----BEGIN CERTIFICATE-----", file)
		}
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// guardMirror lets only administrators write to repositories of upstreams:
// what they hold is taken for what its name says.
func guardMirror(m *mirror.Mirror, authorize func(*http.Request, auth.Action, string) error) func(*http.Request, auth.Action, string) error {
	return func(r *http.Request, a auth.Action, repository string) error {
		if err := authorize(r, a, repository); err != nil {
			return err
		}
		if (a != auth.Push && a != auth.Delete) || !m.Serves(repository) {
			return nil
		}
		if authorize(r, auth.Admin, repository) != nil {
			return oci.NewError(oci.CodeDenied, fmt.Sprintf("repository %s mirrors the registry that its name begins with: only an administrator may write to it; push under another name", repository))
		}
		return nil
	}
}

// configuredUpstream is an entry of mirror.upstreams in the configuration file.
type configuredUpstream struct {
	Name         string   `yaml:"name"`
	URL          string   `yaml:"url"`
	Username     string   `yaml:"username"`
	PasswordFile string   `yaml:"password-file"`
	PasswordEnv  string   `yaml:"password-env"`
	TokenHosts   []string `yaml:"token-hosts"`
}

func (u configuredUpstream) password() (string, error) {
	switch {
	case u.Username == "" && u.PasswordFile == "" && u.PasswordEnv == "":
		return "", nil
	case u.Username == "":
		return "", fmt.Errorf("mirror.upstreams: %s has a password but no username", u.Name)
	case u.PasswordFile != "" && u.PasswordEnv != "":
		return "", fmt.Errorf("mirror.upstreams: %s has both password-file and password-env: use one", u.Name)
	case u.PasswordFile != "":
		b, err := os.ReadFile(u.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("mirror.upstreams: %s: %w", u.Name, err)
		}
		if s := strings.TrimRight(string(b), "\r\n"); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("mirror.upstreams: %s: %s is empty", u.Name, u.PasswordFile)
	case u.PasswordEnv != "":
		if s := os.Getenv(u.PasswordEnv); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("mirror.upstreams: %s: the environment has no %s", u.Name, u.PasswordEnv)
	}
	return "", fmt.Errorf("mirror.upstreams: %s has a username but no password: set password-file or password-env", u.Name)
}

// upstreamList is a flag: names and addresses in one line, or a YAML list as
// the configuration file has it.
type upstreamList struct{ list []configuredUpstream }

// Set implements pflag.Value.
func (l *upstreamList) Set(s string) error {
	if s = strings.TrimSpace(s); s == "" || s == "none" {
		l.list = nil
		return nil
	}
	var list []configuredUpstream
	if isYAMLList(s) {
		var nodes []yaml.Node
		if err := yaml.Unmarshal([]byte(s), &nodes); err != nil {
			return fmt.Errorf("it must be a list of upstreams: %w", err)
		}
		for i := range nodes {
			u, err := readUpstream(&nodes[i])
			if err != nil {
				return err
			}
			list = append(list, u)
		}
	} else {
		for part := range strings.SplitSeq(s, ",") {
			name, url, _ := strings.Cut(strings.TrimSpace(part), "=")
			list = append(list, configuredUpstream{Name: name, URL: url})
		}
	}
	for _, u := range list {
		if u.Name == "" {
			return errors.New("an upstream needs a name, such as docker.io")
		}
	}
	l.list = list
	return nil
}

// isYAMLList tells what the configuration file has from what stands on a line.
func isYAMLList(s string) bool {
	return s[0] == '[' || s[0] == '#' || strings.HasPrefix(s, "- ")
}

var upstreamKeys = []string{"name", "url", "username", "password-file", "password-env", "token-hosts"}

func readUpstream(node *yaml.Node) (u configuredUpstream, err error) {
	if node.Kind == yaml.ScalarNode {
		u.Name, u.URL, _ = strings.Cut(node.Value, "=")
		return u, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i].Value; !slices.Contains(upstreamKeys, key) {
			return u, fmt.Errorf("%q is not a setting of an upstream%s", key, suggestion(key, slices.Clone(upstreamKeys)))
		}
	}
	return u, node.Decode(&u)
}

func (l *upstreamList) String() string {
	var names []string
	for _, u := range l.list {
		if u.URL != "" {
			u.Name += "=" + u.URL
		}
		names = append(names, u.Name)
	}
	return strings.Join(names, ",")
}

// Type implements pflag.Value.
func (l *upstreamList) Type() string { return "list" }

// AcceptsList tells the reader of the configuration file.
func (l *upstreamList) AcceptsList() {}

// stringList is a flag of values in one line, or a list in the configuration file.
type stringList []string

// Set implements pflag.Value.
func (l *stringList) Set(s string) error {
	*l = nil
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	if isYAMLList(s) {
		return yaml.Unmarshal([]byte(s), (*[]string)(l))
	}
	for part := range strings.SplitSeq(s, ",") {
		*l = append(*l, strings.TrimSpace(part))
	}
	return nil
}

func (l *stringList) String() string { return strings.Join(*l, ",") }

// Type implements pflag.Value.
func (l *stringList) Type() string { return "list" }

// AcceptsList tells the reader of the configuration file.
func (l *stringList) AcceptsList() {}
