//go:build linux

package crash

import (
	"slices"
	"sync"
	"time"
)

// A ledger is what clients know: the facts that the server acknowledged and
// those that it may have taken up before it died. Each tag and each manifest
// belongs to one worker, so operations on it follow one another; a blob of a
// shared repository is only ever pushed, by several.
type ledger struct {
	mu    sync.Mutex
	facts map[key]*fact
	// uploads that are open, by their path.
	uploads map[string]*upload
	// content of every digest that was ever sent.
	content map[string][]byte
	// what a manifest points at: blobs of an image, manifests of an index.
	blobs, children map[string][]string
	// repositories in which collection deletes untagged manifests.
	losesUntagged map[string]bool
	acknowledged  int
	// fault is when the disk began to fail, zero if it did not.
	fault time.Time
}

type kind string

const (
	aTag      kind = "tag"
	aManifest kind = "manifest"
	aBlob     kind = "blob"
)

// there and gone are the values of manifests and blobs. A tag's value is a
// digest, or gone.
const (
	there = "there"
	gone  = ""
)

type key struct {
	kind       kind
	repository string
	name       string // tag or digest
}

type fact struct {
	possible []string // what may be observed; one value if the truth is known
	next     string   // what operations under way make of it
	underWay int
	touched  time.Time // blobs: collection must leave it alone for the grace time after this
	owner    int
	history  []state // since the last crash, the newest last
}

// ack is an offset that was acknowledged, and the one before it.
type ack struct {
	at     time.Time
	before int64
}

// state is what was possible from a time on.
type state struct {
	at       time.Time
	possible []string
}

func (f *fact) set(possible ...string) {
	if f.history == nil {
		f.history = []state{{possible: f.possible}}
	}
	f.possible = possible
	f.history = append(f.history, state{time.Now(), possible})
}

// upload is an open upload: the server said that it has acked bytes of
// content, and cannot have more than sent.
type upload struct {
	repository, path string
	content          []byte
	acked, sent      int64
	acks             []ack // since the last crash
	finishing        bool  // a closing PUT was sent
	owner            int
}

func newLedger() *ledger {
	return &ledger{facts: map[key]*fact{}, uploads: map[string]*upload{}, content: map[string][]byte{}, blobs: map[string][]string{}, children: map[string][]string{}, losesUntagged: map[string]bool{}}
}

// change is an operation under way.
type change struct {
	l       *ledger
	started time.Time
	to      map[key]string
}

// begin notes that an operation is about to be sent.
func (l *ledger) begin(owner int, to map[key]string) *change {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, v := range to {
		f := l.facts[k]
		if f == nil {
			f = &fact{possible: []string{gone}, owner: owner}
			l.facts[k] = f
		}
		f.next = v
		f.underWay++
	}
	return &change{l: l, started: time.Now(), to: to}
}

// acknowledged makes the change the truth.
func (c *change) acknowledged() { c.end(c.started) }

// known is acknowledged for a blob that the server only said it has: it may
// have been used as early as the time given.
func (c *change) known(since time.Time) { c.end(since) }

// refused takes the change back.
func (c *change) refused() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	for k := range c.to {
		c.l.facts[k].underWay--
	}
}

// uncertain is for an answer that leaves open whether the change happened.
func (c *change) uncertain() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	for k, v := range c.to {
		f := c.l.facts[k]
		f.underWay--
		if !slices.Contains(f.possible, v) {
			f.set(append(slices.Clone(f.possible), v)...)
		}
	}
}

func (c *change) end(touched time.Time) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.acknowledged++
	for k, v := range c.to {
		f := c.l.facts[k]
		f.underWay--
		f.set(v)
		// A deletion is no use: if a power cut takes it back, the blob is as old as before.
		if v != gone && touched.After(f.touched) {
			f.touched = touched
		}
	}
}

// failing notes that the disk fails, since a time or earlier. What was under
// way then may be acknowledged and yet be lost: in the very moment in which
// ext4 gives up its journal, an fsync may return success though the length of
// the file was not saved. In a real power cut nobody would have heard of it.
// So what was acknowledged after that time is taken as left open.
func (l *ledger) failing(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault.IsZero() || since.Before(l.fault) {
		l.fault = since
	}
}

// noted is the use that a server surely remembers of a blob which it said, by
// an answer to HEAD, that it has. Within half of the grace time it need not note
// the use; and it answers, but cannot note it, while the disk fails.
func (l *ledger) noted(asked time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fault.IsZero() {
		return time.Time{}
	}
	return asked.Add(-grace / 2)
}

// crash turns what was under way, or left open, into possibilities.
func (l *ledger) crash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.facts {
		if !l.fault.IsZero() {
			for i := len(f.history) - 1; i > 0 && f.history[i].at.After(l.fault); i-- {
				for _, v := range f.history[i-1].possible {
					if !slices.Contains(f.possible, v) {
						f.possible = append(slices.Clone(f.possible), v)
					}
				}
			}
		}
		if f.underWay > 0 && !slices.Contains(f.possible, f.next) {
			f.possible = append(slices.Clone(f.possible), f.next)
		}
		f.underWay, f.history = 0, nil
	}
	for _, u := range l.uploads {
		for i := len(u.acks) - 1; i >= 0 && !l.fault.IsZero() && u.acks[i].at.After(l.fault); i-- {
			u.acked = u.acks[i].before
		}
		u.acks = nil
	}
	l.fault = time.Time{}
}

// is returns a fact's value if it is known.
func (l *ledger) is(k key) (value string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.facts[k]
	if f == nil {
		return gone, true
	}
	if len(f.possible) != 1 || f.underWay > 0 {
		return "", false
	}
	return f.possible[0], true
}

// touched is when a blob was last used in a repository, as far as is known.
func (l *ledger) touched(repository, digest string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.facts[key{aBlob, repository, digest}]; f != nil {
		return f.touched
	}
	return time.Time{}
}

// list returns the keys of a kind that belong to an owner (-1: anybody), in a
// repository (empty: any), and are not known to be gone, in a fixed order.
func (l *ledger) list(k kind, owner int, repository string) []key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []key
	for key, f := range l.facts {
		if key.kind == k && (owner < 0 || f.owner == owner) && (repository == "" || key.repository == repository) && (len(f.possible) > 1 || f.possible[0] != gone) {
			list = append(list, key)
		}
	}
	slices.SortFunc(list, compareKeys)
	return list
}

// of lists the facts about a repository, with what its deletion makes of them.
func (l *ledger) of(repository string) map[key]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[key]string{}
	for k := range l.facts {
		if k.repository == repository {
			all[k] = gone
		}
	}
	return all
}

// tagsOf lists a repository's tags that may point at a manifest.
func (l *ledger) tagsOf(repository, digest string) []key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []key
	for k, f := range l.facts {
		if k.kind == aTag && k.repository == repository && slices.Contains(f.possible, digest) {
			list = append(list, k)
		}
	}
	return list
}

// sending remembers content and what it points at.
func (l *ledger) sending(content []byte, blobs, children []string) (digest string) {
	d := digestOf(content)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.content[d] = content
	if blobs != nil {
		l.blobs[d] = blobs
	}
	if children != nil {
		l.children[d] = children
	}
	return d
}

func (l *ledger) bytes(digest string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content[digest]
}

func compareKeys(a, b key) int {
	for _, pair := range [][2]string{{a.repository, b.repository}, {string(a.kind), string(b.kind)}, {a.name, b.name}} {
		if pair[0] != pair[1] {
			if pair[0] < pair[1] {
				return -1
			}
			return 1
		}
	}
	return 0
}
