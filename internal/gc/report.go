package gc

import (
	"cmp"
	"slices"
	"time"
)

// Report says what a run freed, and why it kept what it kept.
type Report struct {
	StartedAt, FinishedAt time.Time
	DryRun                bool
	Grace                 time.Duration
	Freed                 Freed
	Kept                  []Kept // sums by kind and reason
	Details               []Detail
	DetailsCut            bool // there were more than maxDetails
}

// Freed counts what went (or would go, in a dry run).
type Freed struct {
	Manifests, Memberships, Blobs, Uploads, Files, Repositories int64
	Bytes                                                       int64 // of blobs and files
}

// Kept sums up what stays for one reason. A manifest is counted in each of its
// repositories, and its bytes once more among the blobs.
type Kept struct {
	Kind   string // manifest, membership, blob or file
	Reason string
	Count  int64
	Bytes  int64
}

// sum is what a run adds up under a Kept without figures.
type sum struct{ count, bytes int64 }

// Detail is one piece of content that was freed, or that nothing but the
// reason given keeps.
type Detail struct {
	Freed      bool
	Kind       string // manifest, membership, blob, upload, file
	Repository string // empty for blobs and files
	Subject    string // digest, upload id or file
	Bytes      int64
	Reason     string
}

const maxDetails = 1000

func (r *Report) add(d Detail) {
	if len(r.Details) < maxDetails {
		r.Details = append(r.Details, d)
	} else {
		r.DetailsCut = true
	}
}

func (r *Report) summarize(kept map[Kept]sum) {
	r.Kept = []Kept{}
	for k, s := range kept {
		r.Kept = append(r.Kept, Kept{k.Kind, k.Reason, s.count, s.bytes})
	}
	slices.SortFunc(r.Kept, func(a, b Kept) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
}
