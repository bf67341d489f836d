package tree

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
)

type matchInfo = patternmatcher.MatchInfo

// ignorer decides like the filter that BuildKit's client puts over a context
// (fsutil.NewFilterFS), of which it is the part about exclusion.
type ignorer struct {
	matcher *patternmatcher.PatternMatcher // nil without patterns
	// final: there is no "!" pattern, and what is ignored stays so.
	final bool
	// prefixes are the "!" patterns up to their trailing glob, when all of
	// them are plain paths; nil when one has a glob elsewhere, so that it
	// could match anywhere.
	prefixes []string
}

func newIgnorer(patterns []string) (*ignorer, error) {
	if len(patterns) == 0 {
		return &ignorer{}, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("ignore patterns %q: %w", patterns, err)
	}
	i := &ignorer{matcher: m, final: !m.Exclusions(), prefixes: []string{}}
	for _, p := range m.Patterns() {
		if !p.Exclusion() {
			continue
		}
		const sep = string(filepath.Separator)
		plain := strings.TrimSuffix(strings.TrimSuffix(p.String(), sep+"**"), sep+"*")
		if strings.ContainsAny(plain, `*[]?^\`) && filepath.Separator == '/' || strings.ContainsAny(plain, "*[]?^") {
			i.prefixes = nil
			break
		}
		i.prefixes = append(i.prefixes, plain+sep)
	}
	return i, nil
}

// match says whether path is ignored, and what those inside need to know. p is
// the folder that path is in, nil for the root.
func (i *ignorer) match(path string, p *parent) (bool, matchInfo, error) {
	if i.matcher == nil {
		return false, matchInfo{}, nil
	}
	var above matchInfo
	if p != nil {
		above = p.matched
	}
	ignored, matched, err := i.matcher.MatchesUsingParentResults(path, above)
	if err != nil {
		return false, matchInfo{}, fmt.Errorf("match %s with the ignore patterns: %w", path, err)
	}
	return ignored, matched, nil
}

// mayContain says whether a "!" pattern could bring back something in the
// ignored folder.
func (i *ignorer) mayContain(folder string) bool {
	if i.final {
		return false
	}
	if i.prefixes == nil {
		return true
	}
	folder = filepath.FromSlash(folder) + string(filepath.Separator)
	for _, p := range i.prefixes {
		if strings.HasPrefix(p, folder) {
			return true
		}
	}
	return false
}
