// Package mirror is a pull-through cache of other registries. It wraps the
// registry: repositories whose name begins with an upstream's, such as
// docker.io/library/debian, are filled from there as they are asked for. All
// others pass through.
//
// A manifest is stored as it comes, though what it points at is missing; its
// blobs and, of an index, its manifests follow when somebody wants them. What
// is here by digest is never asked for again. A tag is: when it was last
// confirmed longer than MaxAge ago, the upstream says in one HEAD whether it
// still points there. An upstream that is down, hangs or has had enough of us
// costs freshness and nothing else; the tag is served as it was.
//
// A tag that a person set, by pushing or importing it under an upstream's name
// or by moving it, belongs to that person: the upstream is not asked about it
// until it is deleted, and the image that it was pushed with is not evicted.
// So a machine without a network can hold the base images that its builds
// name.
//
// Nothing that an upstream says is believed. Content is verified by digest
// before it is whole for anybody, sizes are bounded by the manifest that named
// the content, and its credentials go to nobody else.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"slipway/internal/oci"
	"slipway/internal/registry"
)

// Config is what a Mirror is made of. Registry is required.
type Config struct {
	Registry *registry.Registry
	Log      *slog.Logger

	// Upstreams are the registries that are mirrored, by name.
	Upstreams []Upstream
	// Any mirrors every public registry whose host name a repository's name
	// begins with, beside those.
	Any bool

	// MaxAge is how long a tag is served before its upstream is asked again.
	// 0 asks each time.
	MaxAge time.Duration
	// MaxSize is how many bytes of cached content are kept, by last use.
	// 0 is no limit.
	MaxSize int64
	// Offline never asks an upstream.
	Offline bool

	// ManifestLimit is the largest manifest in bytes. Default 4 MiB.
	ManifestLimit int64
	// Stall is the longest silence of an upstream. Default 30 s; a third of
	// it where there is something to serve instead.
	Stall time.Duration
	// Spool is the folder for blobs on their way, whose files have no name for
	// long. Default: the system's for temporary files.
	Spool string
	// Transport makes the requests: proxies and certificates are its matter.
	// Default: http.DefaultTransport's settings.
	Transport http.RoundTripper
	// Now is the clock of back-offs. Default: the database's.
	Now func() time.Time
}

// Mirror is a registry with upstreams. It is safe for concurrent use.
type Mirror struct {
	*registry.Registry
	c         Config
	log       *slog.Logger
	upstreams *upstreams
	manifests singleflight.Group
	fills     fills
	retries   retries
	trim      trimming

	// Downloads outlive the requests that began them.
	ctx     context.Context
	stop    context.CancelFunc
	closing sync.RWMutex
	work    sync.WaitGroup
}

// Open makes a mirror. Close ends its downloads.
func Open(c Config) (*Mirror, error) {
	if c.Registry == nil {
		return nil, errors.New("open mirror: no registry")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ManifestLimit == 0 {
		c.ManifestLimit = 4 << 20
	}
	if c.Stall == 0 {
		c.Stall = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = c.Registry.DB.Now
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	if c.Spool != "" {
		if err := os.MkdirAll(c.Spool, 0o700); err != nil {
			return nil, fmt.Errorf("open mirror: %w", err)
		}
	}
	u, err := newUpstreams(c)
	if err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	m := &Mirror{Registry: c.Registry, c: c, log: c.Log, upstreams: u}
	m.trim.init(c.MaxSize)
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m, nil
}

// Close ends downloads and waits for them. The registry stays open; it belongs
// to the caller.
func (m *Mirror) Close() {
	m.closing.Lock() // whoever enters now finds the context ended
	m.stop()
	m.closing.Unlock()
	m.work.Wait()
}

// Canonical is the name of the repository that a request is about. ns is the
// registry that containerd's ?ns= names, for which it asks this mirror.
// docker.io/debian is docker.io/library/debian, as everywhere.
func (m *Mirror) Canonical(repository, ns string) (string, error) {
	if ns != "" {
		if m.upstreams.find(ns) == nil {
			return "", oci.NewError(oci.CodeNameUnknown, fmt.Sprintf("this registry does not mirror %.255q: its administrator can add it to mirror.upstreams", ns))
		}
		repository = ns + "/" + repository
		if err := oci.CheckRepository(repository); err != nil {
			return "", err
		}
	}
	if name, ok := strings.CutPrefix(repository, dockerHub+"/"); ok && !strings.Contains(name, "/") && m.upstreams.find(dockerHub) != nil {
		repository = dockerHub + "/library/" + name
	}
	return repository, nil
}

// Serves reports whether a repository's content comes from an upstream. Only
// administrators should push to such a repository, or delete from it.
func (m *Mirror) Serves(repository string) bool {
	return m.place(repository) != nil
}

// place is a repository of an upstream.
type place struct {
	*upstream
	repository string // its name here
	path       string // its name there
}

// place returns nil for a repository that is no upstream's.
func (m *Mirror) place(repository string) *place {
	host, path, ok := strings.Cut(repository, "/")
	if !ok {
		return nil
	}
	u := m.upstreams.find(host)
	if u == nil {
		return nil
	}
	return &place{u, repository, u.prefix + path}
}

// unknown reports that the registry lacks what was asked for.
func unknown(err error) bool {
	return oci.HasCode(err, oci.CodeNameUnknown) || oci.HasCode(err, oci.CodeManifestUnknown) || oci.HasCode(err, oci.CodeBlobUnknown)
}

// offline names what is missing.
func offline(code oci.Code, what string) error {
	return oci.NewError(code, fmt.Sprintf("%s is not here, and this registry is set to ask no upstream (mirror.offline): import it with 'slipway import', or set mirror.offline to false", what))
}
