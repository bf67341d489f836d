package auth

import (
	"fmt"
	"strings"

	"slipway/internal/oci"
)

// Glob matches names of repositories. It is a name in which
//
//   - "*" stands for any characters, or none, within one part: team/*-app
//   - "**" as a whole part stands for any number of parts, or none: **/app
//     matches app and team/x/app
//   - "**" as the last part stands for one part or more: team/** matches all
//     below team, and not team itself; to have both, use two rules
//   - "**" alone matches everything, also what belongs to no repository, such
//     as the settings of the server
//
// The zero Glob matches nothing.
type Glob struct {
	source string
	parts  []string
}

// ParseGlob reads a glob and says what is wrong with one that could never
// match.
func ParseGlob(s string) (Glob, error) {
	if s == "" {
		return Glob{}, fmt.Errorf("the repositories are missing: use a name such as team/app, team/* or team/**, or ** for all")
	}
	if len(s) > oci.MaxRepositoryLength {
		return Glob{}, fmt.Errorf("repositories %.40q… have %d bytes; the limit is %d", s, len(s), oci.MaxRepositoryLength)
	}
	parts := strings.Split(s, "/")
	for _, part := range parts {
		if part == "" {
			return Glob{}, fmt.Errorf("repositories %q have an empty part: write team/app, without a '/' at either end or two in a row", s)
		}
		if part != "**" && strings.Contains(part, "**") {
			return Glob{}, fmt.Errorf("repositories %q: '**' must be a whole part, as in team/** or **/app", s)
		}
	}
	if i := strings.IndexFunc(s, notInGlob); i >= 0 {
		return Glob{}, fmt.Errorf("repositories %q have a %q, which no repository has: use lower-case letters, digits, '.', '_', '-', '/' and the wildcards * and **", s, s[i:i+1])
	}
	return Glob{s, parts}, nil
}

func notInGlob(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/*", r)
}

// MustGlob is ParseGlob for globs that are part of the program.
func MustGlob(s string) Glob {
	g, err := ParseGlob(s)
	if err != nil {
		panic(err)
	}
	return g
}

// String is the form that ParseGlob reads.
func (g Glob) String() string { return g.source }

// Match reports whether the glob matches a repository, or, where repository is
// empty, what belongs to none. Its cost is at most the product of the lengths.
func (g Glob) Match(repository string) bool {
	if repository == "" || g.source == "**" {
		return g.source == "**"
	}
	return matchParts(g.parts, repository)
}

// matchParts walks both lists once and, after a mismatch, lets the last "**"
// take one more part: an earlier one need never be asked again.
func matchParts(pattern []string, name string) bool {
	p, rest, more := 0, name, true
	after, retry := -1, "" // the part after the last "**", and where it began
	for {
		if p < len(pattern) && pattern[p] == "**" {
			if p == len(pattern)-1 {
				return more
			}
			p++
			after, retry = p, rest
			continue
		}
		if !more {
			return p == len(pattern)
		}
		part, tail, has := strings.Cut(rest, "/")
		if p < len(pattern) && matchPart(pattern[p], part) {
			p, rest, more = p+1, tail, has
			continue
		}
		if after < 0 {
			return false
		}
		if _, retry, more = strings.Cut(retry, "/"); !more {
			return false
		}
		p, rest = after, retry
	}
}

// matchPart does the same with characters and "*".
func matchPart(pattern, s string) bool {
	p, i := 0, 0
	star, retry := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p, i = p+1, i+1
		case star >= 0:
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// TagGlob matches tags: "*" stands for any characters, or none. The zero
// TagGlob matches nothing.
type TagGlob struct{ source string }

// ParseTagGlob reads such as v*, release-*, latest or *.
func ParseTagGlob(s string) (TagGlob, error) {
	// A tag where every wildcard is some letter is a tag, or nothing can be.
	if !oci.ValidTag(strings.ReplaceAll(s, "*", "x")) {
		return TagGlob{}, fmt.Errorf("tags %.140q can match no tag: use letters, digits, '_', '.', '-' and the wildcard *, such as v*", s)
	}
	return TagGlob{s}, nil
}

// String is the form that ParseTagGlob reads.
func (g TagGlob) String() string { return g.source }

// Match reports whether the glob matches a tag.
func (g TagGlob) Match(tag string) bool {
	return tag != "" && g.source != "" && matchPart(g.source, tag)
}
