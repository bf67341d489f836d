package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/test/harness"
)

// The model: every repository has one worker, so what its tags must point at
// is known exactly; blobs are few and shared by all, so that pushes, mounts,
// deletions and collection meet on them all the time. The clock moves within a
// batch by less than the grace time, the time that a push may take.

const (
	modelRepos = 4
	modelBlobs = 6
	modelTags  = 3
	grace      = time.Hour
)

// TestModel draws 40 histories; all of rapid's 100, or what -rapid.checks says, in
// the long run.
func TestModel(t *testing.T) {
	if !harness.Long() {
		checks := flag.Lookup("rapid.checks").Value
		before := checks.String()
		must(t, checks.Set("40"))
		defer func() { must(t, checks.Set(before)) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		defer w.close()
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			w.batch(rt)
			w.check(rt)
		}
	})
}

// step is one drawn operation of a worker.
type step struct {
	kind   string
	layers []int
	from   int
	tag    string
	mount  bool
}

var stepGen = rapid.Custom(func(t *rapid.T) step {
	return step{
		kind:   rapid.SampledFrom([]string{"push", "push", "push", "untag", "delete", "restore", "stray", "drop"}).Draw(t, "kind"),
		layers: rapid.SliceOfNDistinct(rapid.IntRange(0, modelBlobs-1), 1, 3, rapid.ID[int]).Draw(t, "layers"),
		from:   rapid.IntRange(0, modelRepos-1).Draw(t, "from"),
		tag:    fmt.Sprintf("t%d", rapid.IntRange(0, modelTags-1).Draw(t, "tag")),
		mount:  rapid.Bool().Draw(t, "mount"),
	}
})

type repo struct {
	name           string
	deleteUntagged bool
	tags           map[string]oci.Digest
	manifests      map[oci.Digest][]int // -> layers
	deleted        map[oci.Digest]deletion
}

type deletion struct {
	at     time.Time
	tags   []string
	layers []int
}

type world struct {
	ctx   context.Context
	dir   string
	db    *db.DB
	store *blob.FS
	reg   *registry.Registry
	gc    *gc.Collector
	now   atomic.Int64
	blobs [][]byte
	repos []*repo

	mu     sync.Mutex
	faults []string
}

func newWorld(t *testing.T, rt *rapid.T) *world {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	must(rt, err)
	w := &world{ctx: context.Background(), dir: dir}
	w.now.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	w.db, err = db.Open(w.ctx, filepath.Join(dir, "slipway.db"), db.Options{Now: w.time})
	must(rt, err)
	w.store, err = blob.OpenFS(dir)
	must(rt, err)
	w.reg, err = registry.New(w.ctx, registry.Config{DB: w.db, Blobs: w.store, InlineLimit: 64, Grace: grace})
	must(rt, err)
	// Orphans by file time cannot be had with a clock of our own; they have
	// their own tests.
	w.gc = gc.New(gc.Config{DB: w.db, Blobs: w.store, Flush: w.reg.Flush, Grace: grace, OrphanAge: 24 * time.Hour})
	for i := range modelBlobs {
		// Half of them live in the database, half in files.
		w.blobs = append(w.blobs, bytes.Repeat([]byte{byte('a' + i)}, 20+i%2*200))
	}
	for i := range modelRepos {
		w.repos = append(w.repos, &repo{name: fmt.Sprintf("r%d", i), deleteUntagged: i%2 == 1, tags: map[string]oci.Digest{}, manifests: map[oci.Digest][]int{}, deleted: map[oci.Digest]deletion{}})
	}
	return w
}

func must(rt interface {
	Helper()
	Fatal(...any)
}, err error) {
	if err != nil {
		rt.Fatal(err)
	}
}

func (w *world) close() {
	w.reg.Close(w.ctx)
	_ = w.db.Close()
	_ = os.RemoveAll(w.dir)
}

func (w *world) time() time.Time { return time.UnixMilli(w.now.Load()) }

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// batch runs some steps of every worker at once, beside collection.
func (w *world) batch(rt *rapid.T) {
	plans := make([][]step, len(w.repos))
	for i := range plans {
		plans[i] = rapid.SliceOfN(stepGen, 0, 5).Draw(rt, "steps")
	}
	pause := time.Duration(rapid.IntRange(0, 49).Draw(rt, "minutes within")) * time.Minute
	between := time.Duration(rapid.SampledFrom([]int{0, 30, 90, 200}).Draw(rt, "minutes between")) * time.Minute

	var workers, collector sync.WaitGroup
	stop := make(chan struct{})
	collector.Go(func() {
		for {
			if _, err := w.gc.Run(w.ctx, gc.Options{}); err != nil {
				w.fault("collect: %v", err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i, plan := range plans {
		workers.Go(func() {
			for _, s := range plan {
				w.do(w.repos[i], s)
			}
		})
	}
	w.now.Add(pause.Milliseconds())
	workers.Wait()
	close(stop)
	collector.Wait()
	w.now.Add(between.Milliseconds())
	if _, err := w.gc.Run(w.ctx, gc.Options{}); err != nil {
		w.fault("collect: %v", err)
	}
}

var change = meta.Change{Actor: "test", Cause: "model"}

func (w *world) do(r *repo, s step) {
	switch s.kind {
	case "push":
		w.push(r, s)
	case "stray": // a blob that no manifest will need
		w.bring(r, s, w.blobs[s.layers[0]])
	case "untag":
		err := w.reg.DeleteTag(w.ctx, r.name, s.tag, change)
		if _, had := r.tags[s.tag]; had != (err == nil) {
			w.fault("delete tag %s:%s: had %v, got %v", r.name, s.tag, had, err)
		}
		delete(r.tags, s.tag)
	case "delete":
		d, ok := r.tags[s.tag]
		if !ok {
			return
		}
		var tags []string
		for tag, to := range r.tags {
			if to == d {
				tags = append(tags, tag)
			}
		}
		if err := w.reg.DeleteManifest(w.ctx, r.name, d, change); err != nil {
			w.fault("delete %s@%s: %v", r.name, d, err)
			return
		}
		for _, tag := range tags {
			delete(r.tags, tag)
		}
		r.deleted[d] = deletion{w.time(), tags, r.manifests[d]}
		delete(r.manifests, d)
	case "restore":
		for d, was := range r.deleted {
			if w.time().Sub(was.at) > 5*time.Minute { // the clock may move meanwhile
				continue
			}
			if err := w.reg.RestoreManifest(w.ctx, r.name, d, change); err != nil {
				w.fault("restore %s@%s: %v", r.name, d, err)
				return
			}
			delete(r.deleted, d)
			r.manifests[d] = was.layers
			for _, tag := range was.tags {
				if _, taken := r.tags[tag]; !taken {
					r.tags[tag] = d
				}
			}
			return
		}
	case "drop":
		if len(s.layers) < 3 { // rarely
			return
		}
		err := w.reg.DeleteRepository(w.ctx, r.name, change)
		if err != nil && !oci.HasCode(err, oci.CodeNameUnknown) {
			w.fault("delete repository %s: %v", r.name, err)
		}
		r.tags, r.manifests, r.deleted = map[string]oci.Digest{}, map[oci.Digest][]int{}, map[oci.Digest]deletion{}
		if r.deleteUntagged {
			r.deleteUntagged = false // the setting went with the repository
		}
	}
}

// bring makes the repository hold a blob the way clients do: ask, then mount
// or upload.
func (w *world) bring(r *repo, s step, content []byte) (oci.Digest, bool) {
	d := oci.FromBytes(oci.SHA256, content)
	if _, err := w.reg.StatBlob(w.ctx, r.name, d); err == nil {
		return d, true
	}
	if s.mount {
		mounted, err := w.reg.MountBlob(w.ctx, r.name, d, w.repos[s.from].name, func(string) bool { return true })
		if err != nil {
			w.fault("mount %s: %v", d, err)
			return d, false
		}
		if mounted {
			return d, true
		}
	}
	u, err := w.reg.StartUpload(w.ctx, r.name, oci.SHA256)
	if err == nil {
		half := len(content) / 2
		if s.from%2 == 0 {
			_, err = w.reg.AppendUpload(w.ctx, r.name, u.ID, registry.Body{Reader: bytes.NewReader(content[:half]), Length: int64(half)})
			content = content[half:]
		}
		if err == nil {
			err = w.reg.FinishUpload(w.ctx, r.name, u.ID, d, registry.Body{Reader: bytes.NewReader(content), Length: int64(len(content))})
		}
	}
	if err != nil {
		w.fault("upload %s: %v", d, err)
	}
	return d, err == nil
}

func (w *world) push(r *repo, s step) {
	type desc struct {
		MediaType string     `json:"mediaType"`
		Digest    oci.Digest `json:"digest"`
		Size      int        `json:"size"`
	}
	var layers []desc
	for _, i := range s.layers {
		d, ok := w.bring(r, s, w.blobs[i])
		if !ok {
			return
		}
		layers = append(layers, desc{"application/vnd.oci.image.layer.v1.tar", d, len(w.blobs[i])})
	}
	content, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "config": layers[0], "layers": layers})
	if err != nil {
		w.fault("marshal: %v", err)
		return
	}
	pushed, err := w.reg.PutManifest(w.ctx, registry.Push{Repository: r.name, Reference: oci.Reference{Tag: s.tag}, MediaType: oci.MediaTypeImageManifest, Content: content, Change: change})
	if err != nil {
		w.fault("push %s:%s: %v", r.name, s.tag, err)
		return
	}
	if r.deleteUntagged {
		if err := w.db.Update(w.ctx, func(tx *db.Tx) error {
			row, _, err := meta.FindRepository(tx, r.name)
			if err != nil {
				return err
			}
			return meta.SetDeleteUntagged(tx, row.ID, true)
		}); err != nil {
			w.fault("set %s: %v", r.name, err)
		}
	}
	r.tags[s.tag] = pushed.Digest
	r.manifests[pushed.Digest] = s.layers
	delete(r.deleted, pushed.Digest)
}

// check compares everything that can be seen with the model.
func (w *world) check(rt *rapid.T) {
	for _, r := range w.repos {
		for i := range modelTags {
			w.checkTag(r, fmt.Sprintf("t%d", i))
		}
		for d, layers := range r.manifests {
			if r.deleteUntagged && !tagged(r, d) {
				continue
			}
			w.checkImage(r, d, layers)
		}
	}
	w.checkRows()
	w.checkUse()
	if len(w.faults) > 0 {
		rt.Fatalf("%d faults:\n%s", len(w.faults), strings.Join(w.faults, "\n"))
	}
}

func tagged(r *repo, d oci.Digest) bool {
	for _, to := range r.tags {
		if to == d {
			return true
		}
	}
	return false
}

func (w *world) checkTag(r *repo, tag string) {
	m, err := w.reg.StatManifest(w.ctx, r.name, oci.Reference{Tag: tag})
	want, has := r.tags[tag]
	switch {
	case has && (err != nil || m.Digest != want):
		w.fault("%s:%s is %s (%v), want %s", r.name, tag, m.Digest, err, want)
	case !has && err == nil:
		w.fault("%s:%s is %s, want none", r.name, tag, m.Digest)
	}
}

func (w *world) checkImage(r *repo, d oci.Digest, layers []int) {
	m, err := w.reg.GetManifest(w.ctx, r.name, oci.Reference{Digest: d})
	if err != nil {
		w.fault("%s@%s: %v", r.name, d, err)
		return
	}
	if got := oci.FromBytes(oci.SHA256, m.Content); got != d {
		w.fault("%s@%s has the bytes of %s", r.name, d, got)
	}
	for _, i := range layers {
		b, err := w.reg.OpenBlob(w.ctx, r.name, oci.FromBytes(oci.SHA256, w.blobs[i]))
		if err != nil {
			w.fault("%s@%s: layer %d: %v", r.name, d, i, err)
			continue
		}
		content, err := io.ReadAll(b)
		if _ = b.Close(); err != nil || !bytes.Equal(content, w.blobs[i]) {
			w.fault("%s@%s: layer %d has %d wrong bytes: %v", r.name, d, i, len(content), err)
		}
	}
}

// checkUse compares the counters with what they count.
func (w *world) checkUse() {
	tx := w.db.Read(w.ctx)
	if err := tx.Each(`SELECT name, bytes,
			COALESCE((SELECT SUM(b.size) FROM members m JOIN blobs b ON b.digest = m.digest WHERE m.repository_id = r.id), 0)
			+ COALESCE((SELECT SUM(size) FROM manifests m WHERE m.repository_id = r.id), 0)
		FROM repositories r`, nil, func(scan func(...any) error) error {
		var name string
		var got, want int64
		if err := scan(&name, &got, &want); err != nil {
			return err
		}
		if got != want {
			w.fault("%s uses %d bytes by its counter, and holds %d", name, got, want)
		}
		return nil
	}); err != nil {
		w.fault("read counters: %v", err)
	}
	total, err := meta.TotalUse(tx)
	blobs, countErr := meta.CountBlobs(tx)
	if err != nil || countErr != nil || total != blobs.Bytes {
		w.fault("all blobs have %d bytes by their counter, and %d: %v %v", total, blobs.Bytes, err, countErr)
	}
}

// checkRows looks for a row without bytes, and for bytes that no row names.
func (w *world) checkRows() {
	keys := map[blob.Key]bool{}
	tx := w.db.Read(w.ctx)
	if err := tx.Each(`SELECT digest, COALESCE(store_key, ''), (SELECT COUNT(*) FROM blob_content c WHERE c.digest = b.digest) FROM blobs b`, nil, func(scan func(...any) error) error {
		var d, key string
		var inline int
		if err := scan(&d, &key, &inline); err != nil {
			return err
		}
		if key == "" {
			if inline != 1 {
				w.fault("blob %s is inline but has no content", d)
			}
			return nil
		}
		keys[blob.Key(key)] = true
		f, err := w.store.Open(w.ctx, blob.Key(key))
		if err != nil {
			w.fault("blob %s has a row but no bytes: %v", d, err)
			return nil
		}
		return f.Close()
	}); err != nil {
		w.fault("read rows: %v", err)
	}
	if err := w.store.Walk(w.ctx, func(e blob.Entry) error {
		if e.Key != "" && !keys[e.Key] {
			w.fault("bytes %s have no row", e.Key)
		}
		return nil
	}); err != nil {
		w.fault("walk: %v", err)
	}
}
