package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

const library = "docker.io/library/debian"

// image is an upstream with an image of one layer, and a mirror of it that has
// the manifest.
func image(t *testing.T, size int, stall time.Duration) (u *upstream, l *local, layer []byte) {
	t.Helper()
	u = newUpstream(t)
	layer = random(size)
	u.PutImage("library/debian", "bookworm", layer)
	c := mirrorOf(u)
	c.Stall = stall
	l = newLocal(t, c)
	l.want(debian, registrytest.Image(config, layer))
	u.requests()
	return u, l, layer
}

// isBlob reports a GET of a blob.
func isBlob(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}

// gated serves a blob's first half at once and the rest when it is told to.
func gated(layer []byte) (serve func(http.ResponseWriter, *http.Request) bool, open func()) {
	gate := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(layer)))
		_, _ = w.Write(layer[:len(layer)/2])
		w.(http.Flusher).Flush()
		select {
		case <-gate:
			_, _ = w.Write(layer[len(layer)/2:])
		case <-r.Context().Done():
		}
		return true
	}, sync.OnceFunc(func() { close(gate) })
}

func TestConcurrentMissesShareOneDownload(t *testing.T) {
	u, l, layer := image(t, 500_000, 0)
	serve, open := gated(layer)
	u.misbehave(serve)
	const clients = 20
	var started, done sync.WaitGroup
	started.Add(clients)
	for range clients {
		done.Go(func() {
			resp, err := http.Get(l.server.URL + "/v2/" + library + "/blobs/" + digestOf(layer))
			if err != nil {
				t.Error(err)
				started.Done()
				return
			}
			defer resp.Body.Close()
			// Half of it is here before the upstream sends the rest.
			half := make([]byte, len(layer)/2)
			_, err = io.ReadFull(resp.Body, half)
			started.Done()
			rest, restErr := io.ReadAll(resp.Body)
			if err != nil || restErr != nil || !bytes.Equal(append(half, rest...), layer) {
				t.Errorf("a client got %d and %d bytes, %v, %v", len(half), len(rest), err, restErr)
			}
		})
	}
	started.Wait()
	open()
	done.Wait()
	if asked := u.requests(); len(asked) != 1 {
		t.Errorf("%d clients made %d requests to the upstream", clients, len(asked))
	}
	l.want(library+"/blobs/"+digestOf(layer), layer)
	if asked := u.requests(); len(asked) != 0 {
		t.Errorf("a hit asked the upstream %v", asked)
	}
}

func TestConcurrentManifestMissesShareOneRequest(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("library/debian", "bookworm", []byte("1"))
	l := newLocal(t, mirrorOf(u))
	const clients = 20
	var waiting atomic.Int32
	gate := make(chan struct{})
	u.misbehave(func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	var done sync.WaitGroup
	for range clients {
		done.Go(func() {
			waiting.Add(1)
			l.want(debian, registrytest.Image(config, []byte("1")))
		})
	}
	for waiting.Load() < clients {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	done.Wait()
	if asked := u.requests(); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

func TestClientLeavesAndTheBlobIsCached(t *testing.T) {
	u, l, layer := image(t, 500_000, 0)
	serve, open := gated(layer)
	u.misbehave(serve)
	ctx, leave := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.URL+"/v2/"+library+"/blobs/"+digestOf(layer), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	leave()
	_ = resp.Body.Close()
	open()
	ctx = context.Background()
	within(t, "the blob is here", func() bool {
		_, err := l.store.StatBlob(ctx, library, oci.Digest(digestOf(layer)))
		return err == nil
	})
	l.want(library+"/blobs/"+digestOf(layer), layer)
	if asked := u.requests(); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

// within waits for what happens by itself.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestTruncatedDownloadGoesOn cuts connections at several places, for an
// upstream with ranges and for one that ignores them.
func TestTruncatedDownloadGoesOn(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprint("ranges ", ranges), func(t *testing.T) {
			u, l, layer := image(t, 400_000, 0)
			var attempts atomic.Int32
			u.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r) {
					return false
				}
				n := int(attempts.Add(1))
				if !ranges {
					r.Header.Del("Range")
				}
				if n > 3 {
					return false
				}
				from, cut := 0, 100_000*n
				if s := r.Header.Get("Range"); s != "" {
					_, _ = fmt.Sscanf(s, "bytes=%d-", &from)
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layer)-1, len(layer)))
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(layer)-from))
				if from > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				_, _ = w.Write(layer[from:max(from, cut)])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			l.want(library+"/blobs/"+digestOf(layer), layer)
			if n := attempts.Load(); n != 4 {
				t.Errorf("%d requests for 3 cuts", n)
			}
		})
	}
}

// TestFalseBlobIsNeverWhole: whatever an upstream does, no client gets an
// answer that looks complete, and nothing is kept.
func TestFalseBlobIsNeverWhole(t *testing.T) {
	whole := func(content func([]byte) []byte) func([]byte) func(http.ResponseWriter, *http.Request) bool {
		return func(layer []byte) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r) {
					return false
				}
				b := content(layer)
				w.Header().Set("Content-Length", strconv.Itoa(len(b)))
				_, _ = w.Write(b)
				return true
			}
		}
	}
	changed := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b = bytes.Clone(b)
			b[(at+len(b))%len(b)] ^= 1
			return b
		}
	}
	tests := map[string]struct {
		serve func(layer []byte) func(http.ResponseWriter, *http.Request) bool
		log   string
	}{
		"first byte":  {whole(changed(0)), "do not have this digest"},
		"last byte":   {whole(changed(-1)), "do not have this digest"},
		"one short":   {whole(func(b []byte) []byte { return b[:len(b)-1] }), "says that blob"},
		"one more":    {whole(func(b []byte) []byte { return append(bytes.Clone(b), 0) }), "says that blob"},
		"nothing":     {whole(func(b []byte) []byte { return nil }), "says that blob"},
		"exabytes":    {serve: func([]byte) func(http.ResponseWriter, *http.Request) bool { return lengthLie("9000000000000000000") }, log: "says that blob"},
		"always cuts": {serve: func(layer []byte) func(http.ResponseWriter, *http.Request) bool { return cuts(layer) }, log: "broke off after 1000 bytes"},
		"wrong part":  {serve: func(layer []byte) func(http.ResponseWriter, *http.Request) bool { return wrongPart(layer) }, log: "when asked for blob"},
		"hangs":       {serve: func(layer []byte) func(http.ResponseWriter, *http.Request) bool { f, _ := gated(layer); return f }, log: "it is silent for"},
		"trickles":    {serve: func(layer []byte) func(http.ResponseWriter, *http.Request) bool { return trickle(layer) }, log: "it is silent for"},
		"dies with 500": {serve: func([]byte) func(http.ResponseWriter, *http.Request) bool {
			return fail(500)
		}, log: "status 500"},
	}
	for name, tt := range tests {
		for _, part := range []string{"", "bytes=0-9"} {
			t.Run(name+" "+part, func(t *testing.T) {
				t.Parallel()
				stall := time.Duration(0)
				if strings.HasPrefix(tt.log, "it is silent") {
					stall = 500 * time.Millisecond
				}
				u, l, layer := image(t, 100_000, stall)
				u.misbehave(tt.serve(layer))
				var header []string
				if part != "" {
					header = []string{"Range", part}
				}
				resp, body, err := l.get(library+"/blobs/"+digestOf(layer), header...)
				if err == nil && resp.StatusCode < 400 {
					t.Fatalf("status %d and %d bytes that look complete", resp.StatusCode, len(body))
				}
				if resp.StatusCode >= 400 && resp.StatusCode != 502 && resp.StatusCode != 503 {
					t.Errorf("status %d: %s", resp.StatusCode, body)
				}
				within(t, "the failure is logged", func() bool { return strings.Contains(l.log.String(), tt.log) })
				if _, err := l.store.StatBlob(context.Background(), library, oci.Digest(digestOf(layer))); !oci.HasCode(err, oci.CodeBlobUnknown) {
					t.Errorf("the blob was kept: %v", err)
				}
				l.Mirror.Close() // waits for the clean-up
				if files := l.store.Contents().Files; len(files) > 0 {
					t.Errorf("left behind: %v", files)
				}
				// An honest answer is taken as ever.
				u.misbehave(nil)
				l.c.Stall = 0
				l.reopen()
				l.want(library+"/blobs/"+digestOf(layer), layer)
			})
		}
	}
}

func lengthLie(length string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) {
			return false
		}
		w.Header().Set("Content-Length", length)
		_, _ = w.Write([]byte("x"))
		return true
	}
}

func cuts(layer []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(layer)))
		_, _ = w.Write(layer[:1000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// trickle sends a byte at a time, for as long as somebody listens.
func trickle(layer []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) {
			return false
		}
		from := 0
		if s := r.Header.Get("Range"); s != "" {
			_, _ = fmt.Sscanf(s, "bytes=%d-", &from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layer)-1, len(layer)))
			w.WriteHeader(http.StatusPartialContent)
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for _, b := range layer[from:] {
			_, _ = w.Write([]byte{b})
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return true
			}
		}
		return true
	}
}

func wrongPart(layer []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) {
			return false
		}
		if r.Header.Get("Range") == "" {
			return cuts(layer)(w, r)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(layer)-1, len(layer)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(layer[5:])
		return true
	}
}

// TestBlobOfUnknownSize: without a manifest that names it, and without a
// length, a blob is served when it is whole.
func TestBlobOfUnknownSize(t *testing.T) {
	u := newUpstream(t)
	layer := random(100_000)
	l := newLocal(t, mirrorOf(u))
	u.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		w.(http.Flusher).Flush() // chunked
		_, _ = w.Write(layer)
		return true
	})
	l.want(library+"/blobs/"+digestOf(layer), layer)
	// The empty blob, and an empty answer to another's name.
	u.misbehave(func(w http.ResponseWriter, r *http.Request) bool { return true })
	l.want(library+"/blobs/"+digestOf(nil), nil)
	l.refused(library+"/blobs/"+digestOf([]byte("not empty")), http.StatusBadGateway)
}

// TestInProcess is the builder's way: seeking forward waits for the bytes.
func TestInProcess(t *testing.T) {
	u, l, layer := image(t, 500_000, 0)
	serve, open := gated(layer)
	u.misbehave(serve)
	ctx := context.Background()
	b, err := l.OpenBlob(ctx, "docker.io/debian", oci.Digest(digestOf(layer)))
	if err != nil || b.Size != int64(len(layer)) || b.Whole == nil {
		t.Fatalf("%+v, %v", b, err)
	}
	defer b.Close()
	if size, err := l.StatBlob(ctx, "docker.io/debian", b.Digest); err != nil || size != b.Size {
		t.Errorf("size %d, %v", size, err)
	}
	short, cancel := context.WithCancel(ctx)
	impatient, err := l.OpenBlob(short, library, b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer impatient.Close()
	if _, err := impatient.Seek(-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if n, err := impatient.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Errorf("read %d, %v after giving up", n, err)
	}
	if end, err := b.Seek(-10, io.SeekEnd); err != nil || end != b.Size-10 {
		t.Fatal(end, err)
	}
	time.AfterFunc(10*time.Millisecond, open)
	last, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(last, layer[len(layer)-10:]) {
		t.Errorf("the last bytes are %x, %v", last, err)
	}
	if err := b.Whole(ctx); err != nil {
		t.Error(err)
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(b); err != nil || !bytes.Equal(all, layer) {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

func TestStatBlob(t *testing.T) {
	u, l, layer := image(t, 1000, 0)
	ctx := context.Background()
	d := oci.Digest(digestOf(layer))
	if size, err := l.StatBlob(ctx, library, d); err != nil || size != 1000 {
		t.Errorf("size %d, %v", size, err)
	}
	if asked := u.requests(); len(asked) != 1 || !strings.HasPrefix(asked[0], "HEAD") {
		t.Errorf("asked %v", asked)
	}
	u.misbehave(func(w http.ResponseWriter, r *http.Request) bool { w.Header().Set("Content-Length", "7"); return true })
	if size, err := l.StatBlob(ctx, library, d); !oci.HasCode(err, oci.CodeBadUpstream) {
		t.Errorf("size %d, %v for a lie", size, err)
	}
	u.misbehave(nil)
	if size, err := l.StatBlob(ctx, library, oci.FromBytes(oci.SHA256, []byte("none"))); !oci.HasCode(err, oci.CodeBlobUnknown) {
		t.Errorf("size %d, %v for what is nowhere", size, err)
	}
}

// TestCloseEndsDownloads: closing does not wait for an upstream that hangs,
// and leaves nothing behind.
func TestCloseEndsDownloads(t *testing.T) {
	u, l, layer := image(t, 100_000, time.Hour)
	serve, open := gated(layer)
	defer open()
	u.misbehave(serve)
	b, err := l.OpenBlob(context.Background(), library, oci.Digest(digestOf(layer)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	closed := make(chan struct{})
	go func() { l.Mirror.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits")
	}
	if _, err := io.ReadAll(b); !oci.HasCode(err, oci.CodeUnavailable) {
		t.Errorf("the reader got %v", err)
	}
	if files := l.store.Contents().Files; len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if _, err := l.OpenBlob(context.Background(), library, oci.Digest(digestOf(layer))); !oci.HasCode(err, oci.CodeUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if entries, err := os.ReadDir(l.spool); err != nil || len(entries) > 0 {
		t.Errorf("the spool has %v, %v", entries, err)
	}
}
