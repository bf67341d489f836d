package floor

import (
	"slices"
	"sync"
)

// index holds the names of repositories and tags, in order. Its zero value
// needs a map.
type index struct {
	mu    sync.RWMutex
	repos sortedNames
	tags  map[string]*sortedNames
}

type sortedNames []string

func (s *sortedNames) add(name string) {
	i, found := slices.BinarySearch(*s, name)
	if !found {
		*s = slices.Insert(*s, i, name)
	}
}

// after copies up to n names that follow last, and says if there are more.
func (s sortedNames) after(last string, n int) ([]string, bool) {
	i, found := slices.BinarySearch(s, last)
	if found {
		i++
	}
	end := min(i+n, len(s))
	return append([]string{}, s[i:end]...), end < len(s) && end > i
}

func (x *index) knows(repo string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tags[repo] != nil
}

func (x *index) add(repo, tag string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tags[repo] == nil {
		x.tags[repo] = new(sortedNames)
		x.repos.add(repo)
	}
	x.tags[repo].add(tag)
}

func (x *index) tagsAfter(repo, last string, n int) (names []string, more, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	tags := x.tags[repo]
	if tags == nil {
		return nil, false, false
	}
	names, more = tags.after(last, n)
	return names, more, true
}

func (x *index) reposAfter(last string, n int) (names []string, more bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.repos.after(last, n)
}
