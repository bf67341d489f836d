//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"slipway/internal/auth"
	"slipway/internal/auth/login"
	"slipway/internal/auth/oidc"
	"slipway/internal/auth/workload"
	"slipway/internal/edge"
	"slipway/internal/oci"
)

// oidcSettings are the settings of logins by OpenID Connect.
type oidcSettings struct {
	issuers   issuerList
	tokenLife time.Duration
}

func (s *oidcSettings) addFlags(f *pflag.FlagSet) {
	f.Var(&s.issuers, "oidc.issuers", "systems by whose word people and CI jobs may log in (OpenID Connect): a list in the configuration file, with name, kind, url and what the guide has; none is none")
	f.DurationVar(&s.tokenLife, "oidc.token-life", oidc.DefaultTokenLife, "how long after a login by OpenID Connect the tokens of a person end, at the latest")
}

func (s *oidcSettings) check() error {
	if s.tokenLife < 0 || (s.tokenLife == 0 && len(s.issuers.list) > 0) {
		return fmt.Errorf("oidc.token-life is %s: it must be more than 0", s.tokenLife)
	}
	return nil
}

// Kinds of issuers.
const (
	issuesWorkloads = "workload"
	issuesPeople    = "people"
)

// configuredIssuer is an entry of oidc.issuers in the configuration file.
type configuredIssuer struct {
	Name     string `yaml:"name"`
	Kind     string `yaml:"kind"`
	URL      string `yaml:"url"`
	Audience string `yaml:"audience"` // of workloads

	ClientID         string            `yaml:"client-id"`
	ClientSecretFile string            `yaml:"client-secret-file"`
	Scopes           []string          `yaml:"scopes"`
	Require          map[string]string `yaml:"require"`
	UsernameClaim    string            `yaml:"username-claim"`
	GroupsClaim      string            `yaml:"groups-claim"`
	AdminGroups      []string          `yaml:"admin-groups"`
	Groups           map[string]string `yaml:"groups"`

	CA    string   `yaml:"ca"`
	Hosts []string `yaml:"hosts"`
}

var (
	issuerKeys = []string{"name", "kind", "url", "ca", "hosts"}
	kindKeys   = map[string][]string{
		issuesWorkloads: {"audience"},
		issuesPeople:    {"client-id", "client-secret-file", "scopes", "require", "username-claim", "groups-claim", "admin-groups", "groups"},
	}
)

// issuerList is a flag that only the configuration file can give a value to.
type issuerList struct{ list []configuredIssuer }

// Set implements pflag.Value.
func (l *issuerList) Set(s string) error {
	l.list = nil
	if s = strings.TrimSpace(s); s == "" || s == "none" || s == "[]" {
		return nil
	}
	var nodes []yaml.Node
	if !isYAMLList(s) || yaml.Unmarshal([]byte(s), &nodes) != nil {
		return errors.New("it must be a list of issuers, which the configuration file has room for")
	}
	for i := range nodes {
		one, err := readIssuer(&nodes[i])
		if err != nil {
			return err
		}
		if slices.ContainsFunc(l.list, func(o configuredIssuer) bool { return o.Name == one.Name }) {
			return fmt.Errorf("issuer %s is there twice", one.Name)
		}
		l.list = append(l.list, one)
	}
	return nil
}

func readIssuer(node *yaml.Node) (one configuredIssuer, err error) {
	if node.Kind != yaml.MappingNode {
		return one, errors.New("an issuer is written as name: …, kind: …, url: …")
	}
	if err := node.Decode(&one); err != nil {
		return one, err
	}
	own, ok := kindKeys[one.Kind]
	if !ok {
		return one, fmt.Errorf("issuer %s: kind is %q: use workload for CI jobs, or people", one.Name, one.Kind)
	}
	known := slices.Concat(issuerKeys, own)
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i].Value; !slices.Contains(known, key) {
			return one, fmt.Errorf("issuer %s: %q is not a setting of an issuer of kind %s%s", one.Name, key, one.Kind, suggestion(key, known))
		}
	}
	return one, nil
}

func (l *issuerList) String() string {
	var names []string
	for _, i := range l.list {
		names = append(names, i.Name)
	}
	return strings.Join(names, ",")
}

// Type implements pflag.Value.
func (l *issuerList) Type() string { return "list" }

// AcceptsList tells the reader of the configuration file.
func (l *issuerList) AcceptsList() {}

// transport reaches an issuer, and what belongs to it.
func (i configuredIssuer) transport(authorities stringList) (*http.Transport, error) {
	if i.CA != "" {
		authorities = append(slices.Clone(authorities), i.CA)
	}
	t, err := outgoing(authorities)
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %w", i.Name, err)
	}
	hosts := slices.Clone(i.Hosts)
	if u, err := url.Parse(i.URL); err == nil {
		hosts = append(hosts, u.Hostname())
	}
	return oidc.Guard(t, hosts...), nil
}

func (i configuredIssuer) secret() (string, error) {
	if i.ClientSecretFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(i.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("issuer %s: %w", i.Name, err)
	}
	if s := strings.TrimRight(string(b), "\r\n"); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("issuer %s: %s is empty", i.Name, i.ClientSecretFile)
}

// workloads are the issuers of CI jobs, each with a transport of its own.
type workloads struct {
	issuers []*workload.Workloads
	log     *slog.Logger
}

// Is implements login.Workloads.
func (w workloads) Is(raw string) bool {
	return slices.ContainsFunc(w.issuers, func(one *workload.Workloads) bool { return one.Is(raw) })
}

// Verify implements login.Workloads.
func (w workloads) Verify(ctx context.Context, raw string) (auth.Identity, error) {
	n := slices.IndexFunc(w.issuers, func(one *workload.Workloads) bool { return one.Is(raw) })
	if n < 0 {
		return auth.Identity{}, errors.New("no issuer has a token like this")
	}
	i, err := w.issuers[n].Verify(ctx, raw)
	if oci.HasCode(err, oci.CodeUnavailable) { // whose answer says that the log has the cause
		w.log.Error("a token of a CI job cannot be checked", "err", err, "cause", errors.Unwrap(err))
	}
	return i, err
}

// openWorkloads is nil where no CI system is trusted.
func (s *serveSettings) openWorkloads(log *slog.Logger) (login.Workloads, error) {
	all := workloads{log: log}
	clients := map[string]string{} // of issuers of people, by URL
	for _, i := range s.oidc.issuers.list {
		if i.Kind == issuesPeople {
			clients[i.URL] = i.ClientID
		}
	}
	urls := map[string]bool{}
	for _, i := range s.oidc.issuers.list {
		if i.Kind != issuesWorkloads {
			continue
		}
		audience := cmp.Or(i.Audience, s.tls.address())
		switch {
		case urls[i.URL]:
			return nil, fmt.Errorf("issuer %s: another one has its url: one of them is enough, with rules that tell its jobs apart", i.Name)
		case audience != "" && clients[i.URL] == audience:
			return nil, fmt.Errorf("issuer %s: its audience is the client-id of the people's issuer, whose tokens would be taken for those of jobs: use another", i.Name)
		}
		urls[i.URL] = true
		t, err := i.transport(s.mirror.caCertificates)
		if err != nil {
			return nil, err
		}
		one, err := workload.New(workload.Config{Issuers: []workload.Issuer{{Name: i.Name, URL: i.URL, Audience: audience}}, Transport: t})
		if err != nil {
			return nil, err
		}
		all.issuers = append(all.issuers, one)
	}
	if all.issuers == nil {
		return nil, nil
	}
	return all, nil
}

// openPeople is nil where people log in here only.
func (s *serveSettings) openPeople(a *access, log *slog.Logger) (*oidc.People, error) {
	c := oidc.Config{
		DB: a.store.db, Accounts: a.store.accounts, TokenLife: s.oidc.tokenLife, Log: log, Refused: a.recorder.Record, Address: address,
		Origin: func(r *http.Request) string { o := edge.OriginOf(r); return o.Scheme + "://" + o.Host },
	}
	for _, i := range s.oidc.issuers.list {
		if i.Kind != issuesPeople {
			continue
		}
		t, err := i.transport(s.mirror.caCertificates)
		if err != nil {
			return nil, err
		}
		secret, err := i.secret()
		if err != nil {
			return nil, err
		}
		c.Providers = append(c.Providers, oidc.Provider{
			Name: i.Name, URL: i.URL, ClientID: i.ClientID, ClientSecret: secret, Scopes: i.Scopes, Transport: t, Require: i.Require,
			UsernameClaim: i.UsernameClaim, GroupsClaim: i.GroupsClaim, AdminGroups: i.AdminGroups, Groups: i.Groups,
		})
	}
	if c.Providers == nil {
		return nil, nil
	}
	var err error
	if c.Public, err = s.tls.public(); err != nil {
		return nil, err
	}
	return oidc.New(c)
}
