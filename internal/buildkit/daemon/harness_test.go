//go:build linux

package daemon_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"slipway/internal/buildkit/daemon"
	"slipway/test/harness"
)

// shimOnce builds slipway-runc once for all tests of the package. A machine
// without Go may bring one, in SLIPWAY_TEST_SHIM.
var shimOnce = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SLIPWAY_TEST_SHIM"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "slipway-runc-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "slipway-runc")
	cmd := exec.Command("go", "build", "-o", path, "slipway/cmd/slipway-runc")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if root := os.Getenv("SLIPWAY_TEST_VICTIM"); root != "" {
		victim(root) // see TestKilledParent
	}
	if root := os.Getenv("SLIPWAY_TEST_CHECK"); root != "" {
		fmt.Println(daemon.Check(daemon.Config{Root: root})) // see TestNotRoot
		os.Exit(0)
	}
	code := m.Run()
	if path, err := shimOnce(); err == nil && os.Getenv("SLIPWAY_TEST_SHIM") == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// config is a daemon with a root of its own, or the test ends because this
// machine cannot build.
func config(t *testing.T) daemon.Config {
	t.Helper()
	if os.Geteuid() != 0 {
		harness.Missing(t, "root")
	}
	shim, err := shimOnce()
	if err != nil {
		t.Fatal(err)
	}
	c := daemon.Config{Root: tempDir(t), Shim: shim, Log: logger(t)}
	for _, dir := range []string{"bin", ".build"} {
		path, err := filepath.Abs(filepath.Join("../../..", dir, "buildkitd"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err == nil {
			c.Binary = path
		}
	}
	if err := daemon.Check(c); err != nil {
		harness.Missing(t, "%v", err)
	}
	return c
}

// tempDir is not t.TempDir, whose paths are too long for a socket, and which
// fails to be removed in ways that hide the cause.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// logger keeps the log until the test fails.
func logger(t *testing.T) *slog.Logger {
	var mu sync.Mutex
	var kept bytes.Buffer
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() {
			t.Logf("buildkitd's log:\n%s", kept.String())
		}
	})
	return slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return kept.Write(b)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// start runs a daemon until the test ends, and checks that nothing is left.
func start(t *testing.T, c daemon.Config) *daemon.Daemon {
	t.Helper()
	d, err := daemon.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		nothingLeft(t, c.Root)
	})
	return d
}

// deadline bounds what a test waits for.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, d *daemon.Daemon) *client.Client {
	t.Helper()
	c, err := d.Client(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the daemon may be closed already
	return c
}

// image is what a build made.
type image struct {
	digest string
	files  map[string][]string // by layer, from the bottom: the names in it
	layers []string            // digests
	log    string
	cached int // vertices that were not run
}

// build builds a Dockerfile whose context is a folder with a static busybox. RUN
// lines use the shell form: its shell is that busybox.
func build(ctx context.Context, t *testing.T, c *client.Client, run string, args map[string]string) (image, error) {
	t.Helper()
	dir := tempDir(t)
	busybox, err := os.ReadFile(harness.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"busybox":    busybox,
		"Dockerfile": []byte("FROM scratch\nCOPY busybox /bin/busybox\nSHELL [\"/bin/busybox\", \"sh\", \"-ec\"]\n" + run),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	source, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	attrs := map[string]string{}
	for name, value := range args {
		attrs[name] = value
	}
	var out bytes.Buffer
	img := image{files: map[string][]string{}}
	status := make(chan *client.SolveStatus)
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		counted := map[digest.Digest]bool{}
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Cached && !counted[v.Digest] {
					counted[v.Digest] = true
					img.cached++
				}
			}
			for _, l := range s.Logs {
				img.log += string(l.Data)
			}
		}
	}()
	_, err = c.Solve(ctx, nil, client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: attrs,
		LocalMounts:   map[string]fsutil.FS{"context": source, "dockerfile": source},
		Exports: []client.ExportEntry{{
			Type:   client.ExporterOCI,
			Attrs:  map[string]string{"source-date-epoch": "0", "rewrite-timestamp": "true"},
			Output: func(map[string]string) (io.WriteCloser, error) { return nopCloser{&out}, nil },
		}},
	}, status)
	<-seen
	if err != nil {
		return img, err
	}
	return img, img.read(out.Bytes())
}

// mustBuild ends the test if the build fails.
func mustBuild(t *testing.T, c *client.Client, run string, args map[string]string) image {
	t.Helper()
	img, err := build(deadline(t), t, c, run, args)
	if err != nil {
		t.Fatalf("%v\n%s", err, img.log)
	}
	return img
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (img *image) read(archive []byte) error {
	content := map[string][]byte{}
	if err := untar(bytes.NewReader(archive), func(name string, body []byte) { content[name] = body }); err != nil {
		return err
	}
	blob := func(d digest.Digest) []byte { return content["blobs/sha256/"+d.Encoded()] }
	var index ocispec.Index
	if err := json.Unmarshal(content["index.json"], &index); err != nil {
		return err
	}
	desc := index.Manifests[0]
	img.digest = desc.Digest.String()
	var manifest ocispec.Manifest
	if err := json.Unmarshal(blob(desc.Digest), &manifest); err != nil {
		return err
	}
	if len(manifest.Layers) == 0 {
		return errors.New("the image has no layer: an index was not expected")
	}
	for _, layer := range manifest.Layers {
		img.layers = append(img.layers, layer.Digest.String())
		r, err := gzip.NewReader(bytes.NewReader(blob(layer.Digest)))
		if err != nil {
			return err
		}
		err = untar(r, func(name string, _ []byte) {
			img.files[layer.Digest.String()] = append(img.files[layer.Digest.String()], name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// top are the names in the last layer.
func (img *image) top() string { return strings.Join(img.files[img.layers[len(img.layers)-1]], " ") }

func untar(r io.Reader, each func(name string, body []byte)) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		body, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		each(h.Name, body)
	}
}

// processes returns the ids of the processes whose command line holds a text.
func processes(text string) []int {
	var found []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), text) {
			found = append(found, pid)
		}
	}
	return found
}

// until waits for something that must happen, and looks often.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen within a minute: %s", what)
		}
	}
}

// nothingLeft checks the promises of Close: no process, mount, interface, rule or
// control group.
func nothingLeft(t *testing.T, root string) {
	t.Helper()
	if pids := processes(root); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), root) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	id := daemon.ID(root)
	if _, err := net.InterfaceByName("slw" + id); err == nil {
		t.Errorf("interface slw%s is left", id)
	}
	rules, err := exec.Command("iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(rules), id) {
		t.Errorf("rules are left:\n%s", rules)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/slipway-" + id, "/sys/fs/cgroup/*/slipway-" + id} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("control groups are left: %v", left)
		}
	}
}

// outside is a web server beyond this machine: in a network namespace that this
// machine has a route to. Paths answer 404 until they are opened.
type outside struct {
	addr string
	mu   sync.Mutex
	open map[string]string
	got  map[string]string // the query of requests, by path
}

func (o *outside) allow(path, body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[path] = body
}

func (o *outside) query(path string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.got[path]
}

func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got[r.URL.Path] = r.URL.RawQuery
	body, ok := o.open[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, body)
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	const here, there = "198.51.100.1/30", "198.51.100.2/30"
	_ = netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "slwtest"}}) // of a killed test
	listeners := make(chan net.Listener, 1)
	failed := make(chan error, 1)
	var ns netns.NsHandle
	go func() {
		runtime.LockOSThread() // it is in the other namespace, and ends with this function
		failed <- func() (err error) {
			host, err := netns.Get()
			if err != nil {
				return err
			}
			if ns, err = netns.New(); err != nil {
				return err
			}
			back, err := netlink.NewHandleAt(host)
			if err != nil {
				return err
			}
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "slwtest"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}
			if err := back.LinkAdd(veth); err != nil {
				return err
			}
			for _, side := range []struct {
				handle func() (*netlink.Handle, error)
				name   string
				addr   string
			}{
				{func() (*netlink.Handle, error) { return back, nil }, "slwtest", here},
				{func() (*netlink.Handle, error) { return netlink.NewHandle() }, "eth0", there},
			} {
				h, err := side.handle()
				if err != nil {
					return err
				}
				link, err := h.LinkByName(side.name)
				if err != nil {
					return err
				}
				addr, err := netlink.ParseAddr(side.addr)
				if err != nil {
					return err
				}
				if err := errors.Join(h.AddrAdd(link, addr), h.LinkSetUp(link)); err != nil {
					return err
				}
			}
			l, err := net.Listen("tcp", "198.51.100.2:80")
			listeners <- l
			return err
		}()
	}()
	if err := <-failed; err != nil {
		t.Fatalf("a network beyond this machine: %v", err)
	}
	o := &outside{addr: "198.51.100.2", open: map[string]string{"/": "outside"}, got: map[string]string{}}
	srv := &http.Server{Handler: o, ReadHeaderTimeout: time.Minute}
	l := <-listeners
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		_ = ns.Close()
		if link, err := netlink.LinkByName("slwtest"); err == nil {
			_ = netlink.LinkDel(link)
		}
	})
	return o
}
