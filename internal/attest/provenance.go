package attest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"slipway/internal/oci"
)

// Statement is the in-toto statement with SLSA provenance of a build. An error
// names the field that is missing or wrong. Lists are sorted, times are in UTC
// and whole seconds.
func Statement(b Build) ([]byte, error) {
	subjects, err := subjects(b.Subjects)
	if err != nil {
		return nil, err
	}
	from, err := b.Source.definition()
	if err != nil {
		return nil, err
	}
	dependencies, err := b.dependencies(from.URI)
	if err != nil {
		return nil, err
	}
	byproducts, err := byproducts(b.Byproducts)
	if err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return encode(statement{
		Type:          StatementType,
		Subject:       subjects,
		PredicateType: PredicateType,
		Predicate: predicate{
			BuildDefinition: buildDefinition{
				BuildType: BuildType,
				ExternalParameters: externalParameters{
					Source:    from,
					Project:   b.Project,
					Target:    b.Target,
					Platforms: sorted(b.Platforms),
					Args:      withoutProxies(b.Args),
					Files:     sorted(b.Files),
				},
				InternalParameters:   b.Internal,
				ResolvedDependencies: dependencies,
			},
			RunDetails: runDetails{
				Builder:    builder(b.Builder),
				Metadata:   metadata{b.Invocation, stamp(b.Started), stamp(b.Finished)},
				Byproducts: byproducts,
			},
		},
	}, b.Secrets)
}

func (b Build) check() error {
	switch id, err := url.Parse(b.Builder.ID); {
	case b.Project == "":
		return fmt.Errorf("provenance: the project is missing")
	case b.Target == "":
		return fmt.Errorf("provenance: the target is missing")
	case len(b.Platforms) == 0:
		return fmt.Errorf("provenance of %s: the platforms are missing", b.Target)
	case err != nil || id.Scheme == "" || id.User != nil:
		return fmt.Errorf("provenance of %s: the builder's id must be a URI without credentials, such as the server's external URL", b.Target)
	case !b.Started.IsZero() && b.Finished.Before(b.Started) && !b.Finished.IsZero():
		return fmt.Errorf("provenance of %s: it finished before it started", b.Target)
	}
	for name, value := range b.Args {
		for _, secret := range b.Secrets {
			if holds(value, secret) && !isProxy(name) {
				return fmt.Errorf("provenance of %s: the build argument %s holds the value of a secret: anyone who may pull the image could read it there; pass it as a secret and mount it", b.Target, name)
			}
		}
	}
	return nil
}

func subjects(list []Subject) ([]resource, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("provenance: the subject is missing")
	}
	var out []resource
	for _, s := range list {
		d, err := digestSet(s.Digest)
		if err != nil {
			return nil, fmt.Errorf("provenance: subject %q: %w", s.Name, err)
		}
		out = append(out, resource{Name: s.Name, Digest: d})
	}
	return inOrder(out), nil
}

// scpAddress is Git's short form of an ssh address, which is no URI.
var scpAddress = regexp.MustCompile(`^([\w.-]+@[\w.-]+):([^/].*|/[^/].*)$`)

// definition is the source as its address was given, but for credentials.
func (s Source) definition() (source, error) {
	if m := scpAddress.FindStringSubmatch(s.URI); m != nil {
		s.URI = "ssh://" + m[1] + "/" + strings.TrimPrefix(m[2], "/")
	}
	u, err := url.Parse(s.URI)
	if err != nil || s.URI == "" {
		// The URI is not repeated: url.Parse fails on passwords, too.
		return source{}, fmt.Errorf("provenance: the source's URI is missing or is not a URI")
	}
	// A user of ssh is part of the address, as in ssh://git@host; one of HTTP is a credential.
	if _, password := u.User.Password(); password || strings.HasPrefix(strings.TrimPrefix(u.Scheme, "git+"), "http") {
		u.User = nil
	}
	u.RawQuery, u.ForceQuery = "", false
	return source{u.String(), s.Ref}, nil
}

// dependencies are the commit and the base images.
func (b Build) dependencies(source string) ([]resource, error) {
	var out []resource
	for _, base := range b.Bases {
		r, err := base.resource()
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	out = inOrder(out)
	if b.Source.Commit == "" {
		return out, nil
	}
	if n := len(b.Source.Commit); n != 40 && n != 64 || strings.Trim(b.Source.Commit, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("provenance: the commit %q is not 40 or 64 lower-case hex digits", b.Source.Commit)
	}
	commit := resource{URI: source, Digest: map[string]string{"gitCommit": b.Source.Commit}}
	if b.Source.Ref != "" {
		commit.Annotations = map[string]string{"ref": b.Source.Ref}
	}
	return append([]resource{commit}, out...), nil
}

func (b Base) resource() (resource, error) {
	d, err := digestSet(b.Digest)
	if err != nil {
		return resource{}, fmt.Errorf("provenance: base image %q: %w", b.Reference, err)
	}
	uri, err := packageURL(b)
	if err != nil {
		return resource{}, fmt.Errorf("provenance: base image %q: %w", b.Reference, err)
	}
	notes := map[string]string{"origin": string(b.Origin)}
	switch {
	case b.Origin == Mirror && b.Upstream != "":
		notes["upstream"] = b.Upstream
	case b.Origin != Local || b.Upstream != "":
		return resource{}, fmt.Errorf("provenance: base image %q: the origin must be local, or mirror with its upstream", b.Reference)
	}
	return resource{Name: b.Reference, URI: uri, Digest: d, Annotations: notes}, nil
}

func byproducts(list []Byproduct) ([]resource, error) {
	var out []resource
	for _, p := range list {
		d, err := digestSet(p.Digest)
		if err != nil {
			return nil, fmt.Errorf("provenance: byproduct %q: %w", p.Name, err)
		}
		out = append(out, resource{Name: p.Name, URI: p.URI, Digest: d, MediaType: p.MediaType})
	}
	return inOrder(out), nil
}

func digestSet(d oci.Digest) (map[string]string, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	return map[string]string{d.Algorithm().String(): d.Encoded()}, nil
}

// withoutProxies leaves out the arguments that every build may have without
// declaring them (https://docs.docker.com/build/building/variables/): they
// belong to the machine, are no part of the input digest, and hold credentials.
func withoutProxies(args map[string]string) map[string]string {
	args = maps.Clone(args)
	maps.DeleteFunc(args, func(name, _ string) bool { return isProxy(name) })
	return args
}

func isProxy(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
		return true
	}
	return false
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// inOrder sorts resources by name, then address, then digest; the same twice
// is one.
func inOrder(list []resource) []resource {
	key := func(r resource) string {
		return fmt.Sprintf("%q %q %v %q %v", r.Name, r.URI, r.Digest, r.MediaType, r.Annotations)
	}
	slices.SortFunc(list, func(a, b resource) int { return cmp.Compare(key(a), key(b)) })
	return slices.CompactFunc(list, func(a, b resource) bool { return key(a) == key(b) })
}

// holds reports whether a secret is in a value. One of fewer than eight bytes,
// such as "true" or "main", may well be there by chance, and is not looked for.
func holds(value string, secret []byte) bool {
	secret = bytes.TrimSpace(secret)
	return len(secret) >= 8 && strings.Contains(value, string(secret))
}

// encode is the JSON of a statement, unless a secret is anywhere in it.
func encode(s statement, secrets [][]byte) ([]byte, error) {
	content, err := marshal(s)
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	for _, secret := range secrets {
		text, err := marshal(string(bytes.TrimSpace(secret)))
		if err != nil {
			return nil, fmt.Errorf("provenance: %w", err)
		}
		if holds(string(content), text[1:len(text)-1]) {
			return nil, fmt.Errorf("provenance of %s: it would show the value of a secret: look for it in the names and addresses of the source, bases and reports", s.Predicate.BuildDefinition.ExternalParameters.Target)
		}
	}
	return content, nil
}

// marshal is JSON on one line with "&" and "<" as they are, which addresses
// have. Maps come sorted by key.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}
