package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"slipway/internal/db"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// Where the answer of Resolve comes from.
const (
	FromRegistry = "registry" // a repository that is no upstream's
	FromUpstream = "upstream" // the upstream was asked just now
	FromCache    = "cache"    // a tag that was confirmed within MaxAge, or a digest
	FromImport   = "import"   // a tag that a person set under the upstream's name
)

// Resolution is what a reference points at.
type Resolution struct {
	MediaType string
	Digest    oci.Digest
	Size      int64
	From      string
	// Stale is set where the upstream should have been asked again and could
	// not, or must not.
	Stale bool
}

// Resolve finds what a tag or a digest points at, as a pull would: the manifest
// is here when it returns. It does not count as a pull.
func (m *Mirror) Resolve(ctx context.Context, repository string, ref oci.Reference) (Resolution, error) {
	var r Resolution
	manifest, err := m.settled(ctx, repository, ref, true, func(repository string, from string, stale bool) (registry.Manifest, error) {
		r.From, r.Stale = from, stale
		return m.Registry.StatManifest(ctx, repository, ref)
	})
	r.MediaType, r.Digest, r.Size = manifest.MediaType, manifest.Digest, manifest.Size
	return r, err
}

// GetManifest implements httpapi.Reader.
func (m *Mirror) GetManifest(ctx context.Context, repository string, ref oci.Reference) (registry.Manifest, error) {
	return m.settled(ctx, repository, ref, true, func(repository, _ string, _ bool) (registry.Manifest, error) {
		return m.Registry.GetManifest(ctx, repository, ref)
	})
}

// StatManifest implements httpapi.Reader. What is missing is fetched: whoever
// asks will pull it next, and Docker Hub counts that once. Of an upstream that
// has just failed that is not tried: it may be a push that asks.
func (m *Mirror) StatManifest(ctx context.Context, repository string, ref oci.Reference) (registry.Manifest, error) {
	return m.settled(ctx, repository, ref, false, func(repository, _ string, _ bool) (registry.Manifest, error) {
		return m.Registry.StatManifest(ctx, repository, ref)
	})
}

// Stale implements httpapi.Staler.
func (m *Mirror) Stale(ctx context.Context, repository string, ref oci.Reference) string {
	repository, err := m.Canonical(repository, "")
	if err != nil || ref.Tag == "" || !m.Serves(repository) {
		return ""
	}
	s, found, err := findTag(m.DB.Read(ctx), repository, ref.Tag)
	if err != nil || !found || s.set {
		return ""
	}
	age := m.DB.Now().Sub(time.UnixMilli(s.checked))
	if age <= max(m.c.MaxAge, time.Second) {
		return ""
	}
	return fmt.Sprintf("last confirmed by the upstream %s ago", age.Round(time.Second))
}

// settled reads once the reference is here and as fresh as it can be. It takes
// patience to wait for what is not here on an upstream that has just failed.
func (m *Mirror) settled(ctx context.Context, repository string, ref oci.Reference, patient bool, read func(repository, from string, stale bool) (registry.Manifest, error)) (registry.Manifest, error) {
	repository, err := m.Canonical(repository, "")
	if err != nil {
		return registry.Manifest{}, err
	}
	p := m.place(repository)
	if p == nil {
		return read(repository, FromRegistry, false)
	}
	for attempt := 0; ; attempt++ {
		from, stale, err := m.settle(ctx, p, ref, patient)
		if err != nil {
			return registry.Manifest{}, err
		}
		manifest, err := read(repository, from, stale)
		// It may have been evicted, or deleted, in between.
		if !unknown(err) || attempt > 0 {
			return manifest, err
		}
	}
}

func (m *Mirror) settle(ctx context.Context, p *place, ref oci.Reference, patient bool) (from string, stale bool, err error) {
	if ref.Tag == "" {
		return m.settleDigest(ctx, p, ref, patient)
	}
	s, found, err := findTag(m.DB.Read(ctx), p.repository, ref.Tag)
	if err != nil {
		return "", false, fmt.Errorf("find tag %s:%s: %w", p.repository, ref.Tag, err)
	}
	key := p.repository + ":" + ref.Tag
	switch {
	case found && s.set:
		return FromImport, false, nil
	case found && m.fresh(s):
		return FromCache, false, nil
	case found && (m.c.Offline || p.backoff.spare() || m.retries.wait(key, m.c.Now())):
		return FromCache, true, nil
	case m.c.Offline:
		return "", false, offline(oci.CodeManifestUnknown, key)
	case !patient && p.backoff.spare():
		return "", false, p.justFailed(key)
	}
	err = m.share(ctx, key, func(ctx context.Context) error { return m.refreshTag(ctx, p, ref) })
	switch {
	case err == nil:
		return FromUpstream, false, nil
	case found && ctx.Err() == nil:
		return FromCache, true, nil
	}
	return "", false, missing(key, err)
}

func (p *place) justFailed(what string) error {
	return oci.NewError(oci.CodeUpstreamDown, fmt.Sprintf("%s is not here yet, and upstream %s has just failed: try again later", what, p.Name))
}

// missing adds to an upstream's failure what it was needed for.
func missing(what string, err error) error {
	var told *oci.Error
	if !errors.As(err, &told) || (told.Code != oci.CodeUpstreamDown && told.Code != oci.CodeTooManyRequests) {
		return err
	}
	return oci.NewError(told.Code, what+" is not here yet, and "+told.Message).WithDetail(told.Detail).WithCause(err)
}

func (m *Mirror) settleDigest(ctx context.Context, p *place, ref oci.Reference, patient bool) (from string, stale bool, err error) {
	if _, err := m.Registry.StatManifest(ctx, p.repository, ref); err == nil || !unknown(err) {
		return FromCache, false, err
	}
	key := p.repository + "@" + ref.Digest.String()
	if m.c.Offline {
		return "", false, offline(oci.CodeManifestUnknown, key)
	}
	if !patient && p.backoff.spare() {
		return "", false, p.justFailed(key)
	}
	return FromUpstream, false, missing(key, m.share(ctx, key, func(ctx context.Context) error {
		if _, err := m.Registry.StatManifest(ctx, p.repository, ref); !unknown(err) {
			return err
		}
		return m.fetchManifest(ctx, p, ref)
	}))
}

func (m *Mirror) fresh(s tagState) bool {
	return m.DB.Now().UnixMilli()-s.checked < m.c.MaxAge.Milliseconds()
}

// refreshTag asks the upstream about a tag. It runs once for all who wait.
func (m *Mirror) refreshTag(ctx context.Context, p *place, ref oci.Reference) error {
	s, found, err := findTag(m.DB.Read(ctx), p.repository, ref.Tag)
	if err != nil {
		return err
	}
	if !found {
		return m.fetchManifest(ctx, p, ref)
	}
	if s.set || m.fresh(s) {
		return nil // while this waited for its turn
	}
	same, err := m.confirm(ctx, p, ref.Tag, s.digest)
	if err == nil && !same {
		err = m.fetchManifest(ctx, p, ref)
	}
	if err != nil && ctx.Err() == nil {
		m.retries.put(p.repository+":"+ref.Tag, m.c.Now())
		m.log.Warn("a mirrored tag is served as it was: its upstream could not confirm it",
			"repo", p.repository, "tag", ref.Tag, "digest", s.digest, "checked", time.UnixMilli(s.checked).UTC().Format(time.RFC3339), "err", err)
	}
	return err
}

// confirm asks whether a tag still points at d, which costs no pull.
func (m *Mirror) confirm(ctx context.Context, p *place, tag string, d oci.Digest) (same bool, err error) {
	resp, err := p.do(ctx, "HEAD", p.path, "/manifests/"+tag, acceptManifests(), m.c.Stall/3)
	if err != nil {
		if oci.HasCode(err, oci.CodeBadUpstream) {
			return false, nil // perhaps it knows no HEAD: GET will tell
		}
		return false, err
	}
	defer discard(resp)
	if resp.Header.Get("Docker-Content-Digest") != d.String() {
		return false, nil
	}
	return true, m.DB.Update(ctx, func(tx *db.Tx) error { return reconfirmTag(tx, p.repository, tag, d) })
}

var errClosed = oci.NewError(oci.CodeUnavailable, "the registry is stopping: try again")

// share runs fn once for everybody who calls with the same key meanwhile. It
// goes on when they leave.
func (m *Mirror) share(ctx context.Context, key string, fn func(context.Context) error) error {
	done := m.manifests.DoChan(key, func() (any, error) {
		leave, ok := m.enter()
		if !ok {
			return nil, errClosed
		}
		defer leave()
		err := fn(m.ctx)
		if errors.Is(err, context.Canceled) {
			err = errClosed
		}
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter is for work that Close waits for.
func (m *Mirror) enter() (leave func(), ok bool) {
	m.closing.RLock()
	defer m.closing.RUnlock()
	if m.ctx.Err() != nil {
		return nil, false
	}
	m.work.Add(1)
	return m.work.Done, true
}

// retries spares an upstream that answers, though not to the point, the same
// question about a tag again and again.
type retries struct {
	mu sync.Mutex
	m  map[string]time.Time
}

const retryTagAfter = time.Minute

func (r *retries) wait(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.m[key]
	return ok && now.Before(at.Add(retryTagAfter))
}

func (r *retries) put(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[string]time.Time{}
	}
	r.m[key] = now
	maps.DeleteFunc(r.m, func(_ string, at time.Time) bool { return !now.Before(at.Add(retryTagAfter)) })
}
