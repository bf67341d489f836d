package git

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// URL is the address of a repository, with what BuildKit puts behind "#".
type URL struct {
	Remote string // what git is given; without a password, reference or query
	Scheme string // "https", "http", "ssh" or "file"
	Host   string // with the port, if one is given
	Ref    string // branch, tag, full commit or reference; "" is the default branch
	Subdir string // relative and clean; "" is the root

	user, password string // that stood in the address
}

var scpStyle = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*)@([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:.]+\]):([^#?]+)(?:\?([^#]*))?(?:#(.*))?$`)

// IsURL says whether s is meant as the address of a repository, and not as a
// folder.
func IsURL(s string) bool {
	return strings.Contains(s, "://") || strings.HasPrefix(s, "github.com/") || scpStyle.MatchString(s)
}

// ParseURL reads the forms that BuildKit does: https://host/path#ref:subdir,
// ssh://user@host/path, user@host:path, and github.com/owner/name. A password
// in it is used, and never shown. Schemes that reach the local machine or run
// programs are refused, and git://, which nothing protects. It wraps ErrURL.
func ParseURL(s string) (URL, error) {
	u, err := parseURL(s)
	if err != nil {
		return URL{}, fmt.Errorf("%w: %s: %w", ErrURL, redact(s), err)
	}
	return u, nil
}

func parseURL(s string) (u URL, err error) {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		return u, fmt.Errorf("it has control characters")
	}
	if strings.HasPrefix(s, "github.com/") {
		s = "https://" + s
	}
	var query, fragment string
	if m := scpStyle.FindStringSubmatch(s); m != nil {
		u = URL{Remote: m[1] + "@" + m[2] + ":" + m[3], Scheme: "ssh", Host: m[2], user: m[1]}
		query, fragment = m[4], m[5]
		if strings.HasPrefix(m[3], "-") {
			return u, fmt.Errorf("its path begins with a dash")
		}
	} else {
		p, err := url.Parse(s)
		if err != nil {
			return u, fmt.Errorf("it cannot be read as a URL")
		}
		switch u.Scheme = strings.ToLower(p.Scheme); u.Scheme {
		case "https", "http", "ssh":
		case "git":
			return u, fmt.Errorf("git:// is neither encrypted nor authenticated: use https:// or ssh://")
		case "":
			return u, fmt.Errorf("use https://host/path, ssh://user@host/path or user@host:path")
		default:
			return u, fmt.Errorf("%s:// is not allowed: use https:// or ssh://", u.Scheme)
		}
		u.Host, u.user = strings.ToLower(p.Host), p.User.Username()
		u.password, _ = p.User.Password()
		if p.Hostname() == "" || strings.HasPrefix(p.Host, "-") || strings.HasPrefix(u.user, "-") || p.Opaque != "" {
			return u, fmt.Errorf("it has no proper host")
		}
		query, fragment = p.RawQuery, p.Fragment
		p.User, p.RawQuery, p.Fragment, p.RawFragment, p.Scheme, p.Host = nil, "", "", "", u.Scheme, u.Host
		if u.Scheme == "ssh" && u.user != "" {
			p.User = url.User(u.user)
		}
		u.Remote = p.String()
	}
	ref, subdir, _ := strings.Cut(fragment, ":")
	if ref, subdir, err = fromQuery(query, ref, subdir); err != nil {
		return u, err
	}
	return u.at(ref, subdir)
}

// fromQuery reads the newer form ?ref=…&subdir=….
func fromQuery(query, ref, subdir string) (string, string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "", fmt.Errorf("its query cannot be read")
	}
	for key, v := range values {
		switch key {
		case "ref":
			ref = v[0]
		case "branch":
			ref = "refs/heads/" + v[0]
		case "tag":
			ref = "refs/tags/" + v[0]
		case "subdir":
			subdir = v[0]
		default:
			return "", "", fmt.Errorf("?%s= is not known: use ref, branch, tag or subdir", key)
		}
	}
	return ref, subdir, nil
}

func (u URL) at(ref, subdir string) (URL, error) {
	if err := checkRef(ref); ref != "" && err != nil {
		return u, err
	}
	u.Ref = ref
	u.Subdir = strings.TrimPrefix(path.Join("/", subdir), "/")
	return u, nil
}

// LocalURL is the address of a repository on this machine, which Fetch uses
// only with Options.AllowLocal.
func LocalURL(dir, ref string) (URL, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return URL{}, err
	}
	u, err := URL{Remote: "file://" + filepath.ToSlash(dir), Scheme: "file"}.at(ref, "")
	if err != nil {
		return URL{}, fmt.Errorf("%w: %w", ErrURL, err)
	}
	return u, nil
}

// String is the address to show: without a password.
func (u URL) String() string {
	s := u.Remote
	if u.Ref != "" || u.Subdir != "" {
		s += "#" + u.Ref
	}
	if u.Subdir != "" {
		s += ":" + u.Subdir
	}
	return s
}

// redact is for addresses that could not be read: what stands before "@" may
// be a secret.
func redact(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return strings.Map(visible, s)
	}
	authority, after, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = "***" + authority[i:]
	}
	if after != "" {
		authority += "/" + after
	}
	return strings.Map(visible, scheme+"://"+authority)
}

func visible(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return '?'
	}
	return r
}

// checkRef is git check-ref-format, and no leading dash.
func checkRef(ref string) error {
	bad := ref == "" || len(ref) > 1000 || ref == "@" ||
		strings.ContainsAny(ref, " ~^:?*[\\\x7f") || strings.Contains(ref, "..") || strings.Contains(ref, "@{") ||
		strings.HasSuffix(ref, ".") || strings.HasPrefix(ref, "-")
	for _, r := range ref {
		bad = bad || r < ' '
	}
	for _, part := range strings.Split(ref, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("%q cannot be the name of a branch or tag", strings.Map(visible, ref))
	}
	return nil
}

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// resolveRelative reads a submodule's address, which may be relative to that
// of the repository that it is in.
func (u URL) resolveRelative(s string) (URL, error) {
	if !strings.HasPrefix(s, "./") && !strings.HasPrefix(s, "../") {
		return ParseURL(s)
	}
	base, rest := strings.TrimSuffix(u.Remote, "/"), s
	for {
		switch {
		case strings.HasPrefix(rest, "./"):
			rest = rest[2:]
		case strings.HasPrefix(rest, "../"):
			rest = rest[3:]
			i := strings.LastIndexAny(base, "/:")
			if i < 0 || strings.HasSuffix(base[:i], "/") || u.Scheme != "ssh" && base[i] == ':' {
				return URL{}, fmt.Errorf("%w: %s leads above %s", ErrURL, redact(s), u)
			}
			if base = base[:i]; base == u.Scheme+":/" || strings.HasSuffix(base, "://") {
				return URL{}, fmt.Errorf("%w: %s leads above %s", ErrURL, redact(s), u)
			}
		default:
			joined := base + "/" + rest
			if i := strings.IndexByte(u.Remote, ':'); !strings.Contains(u.Remote, "://") && len(base) <= i {
				joined = base + ":" + rest // user@host:path
			}
			if u.Scheme == "file" {
				return LocalURL(strings.TrimPrefix(joined, "file://"), "")
			}
			return ParseURL(joined)
		}
	}
}
