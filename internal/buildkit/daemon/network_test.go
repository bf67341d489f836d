//go:build linux

package daemon_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"

	"slipway/internal/buildkit/daemon"
	"slipway/test/harness"
)

// TestHostIsOutOfReach has a server on every address of this machine, as Slipway
// may be, and a step that tries them all.
func TestHostIsOutOfReach(t *testing.T) {
	out := newOutside(t)
	d := start(t, config(t))
	c := dial(t, d)

	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(listener) }()
	defer func() { _ = srv.Close() }()
	port := listener.Addr().(*net.TCPAddr).Port

	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, a := range addrs {
		if n := a.(*net.IPNet); n.IP.To4() != nil {
			targets = append(targets, fmt.Sprintf("%s:%d", n.IP, port))
		}
	}
	gatewayAddr := d.Subnet().Addr().Next()
	if !strings.Contains(strings.Join(targets, " "), gatewayAddr.String()) {
		t.Fatalf("%s is not among the addresses of this machine: %s", gatewayAddr, targets)
	}
	targets = append(targets, fmt.Sprintf("%s:%d", gatewayAddr.Next(), port))
	for _, target := range targets[:len(targets)-1] {
		if _, err := net.DialTimeout("tcp", target, time.Second); err != nil {
			t.Fatalf("this machine cannot reach itself: %v", err)
		}
	}
	img := mustBuild(t, c, fmt.Sprintf(`RUN /bin/busybox wget -q -O - http://%s/ | /bin/busybox grep -q outside
RUN for t in %s; do ip=${t%%:*}; /bin/busybox nc -w 3 $ip ${t#*:} </dev/null && echo reached $t; done; echo tried all
`, out.addr, strings.Join(targets, " ")), nil)
	if strings.Contains(img.log, "reached") || !strings.Contains(img.log, "tried all") {
		t.Errorf("a step reached this machine:\n%s", img.log)
	}
}

// TestProxyOnThisMachine has a proxy on an address of this machine: the one port
// on it that steps reach.
func TestProxyOnThisMachine(t *testing.T) {
	out := newOutside(t) // for 198.51.100.1, an address of this machine that is not loopback
	listen := func() string {
		l, err := net.Listen("tcp", "198.51.100.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "proxied %s\n", r.URL)
		})}
		go func() { _ = srv.Serve(l) }()
		t.Cleanup(func() { _ = srv.Close() })
		return l.Addr().String()
	}
	proxy, other := listen(), listen()
	cfg := config(t)
	cfg.Proxy = daemon.ProxyEnv{HTTP: "http://" + proxy, No: out.addr}
	args := map[string]string{}
	for name, value := range cfg.Proxy.BuildArgs() {
		args["build-arg:"+name] = value
	}
	c := dial(t, start(t, cfg))
	img := mustBuild(t, c, fmt.Sprintf(`RUN /bin/busybox wget -q -O - http://far.example/x; /bin/busybox nc -w 3 %s </dev/null || echo refused
`, strings.ReplaceAll(other, ":", " ")), args)
	if !strings.Contains(img.log, "proxied http://far.example/x") || !strings.Contains(img.log, "refused") {
		t.Errorf("the step said:\n%s", img.log)
	}
	// No part of the cache: another proxy, the same steps.
	again := mustBuild(t, c, fmt.Sprintf(`RUN /bin/busybox wget -q -O - http://far.example/x; /bin/busybox nc -w 3 %s </dev/null || echo refused
`, strings.ReplaceAll(other, ":", " ")), nil)
	if again.cached != 2 || again.digest != img.digest {
		t.Errorf("without the proxy %d of 2 steps came from the cache", again.cached)
	}
}

// TestNameServerOnLoopback has a machine whose only name server is on loopback.
// It runs again in a process that has a resolv.conf of its own.
func TestNameServerOnLoopback(t *testing.T) {
	conf := os.Getenv("SLIPWAY_TEST_RESOLV")
	if conf == "" {
		config(t) // skips
		conf = tempDir(t) + "/resolv.conf"
		if err := os.WriteFile(conf, []byte("nameserver 127.0.0.77\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run", "^TestNameServerOnLoopback$", "-test.v")
		cmd.Env = append(os.Environ(), "SLIPWAY_TEST_RESOLV="+conf)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestNameServerOnLoopback") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(conf, target, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	serveNames(t, "127.0.0.77:53", [4]byte{192, 0, 2, 99})
	img := mustBuild(t, dial(t, start(t, config(t))), "RUN /bin/busybox nslookup -type=a only-here.example\n", nil)
	if !strings.Contains(img.log, "192.0.2.99") {
		t.Errorf("the step said:\n%s", img.log)
	}
}

// serveNames answers every question for an address with the same.
func serveNames(t *testing.T, at string, answer [4]byte) {
	t.Helper()
	conn, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: answer},
				}}
			}
			if raw, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(raw, from)
			}
		}
	}()
}

// TestBuildsAreApart has a step that serves, and another build that tries it.
func TestBuildsAreApart(t *testing.T) {
	out := newOutside(t)
	c := dial(t, start(t, config(t)))
	const serve = `RUN mkdir() { /bin/busybox mkdir "$@"; }; mkdir -p /www; echo hello > /www/index.html; /bin/busybox httpd -p 8080 -h /www; \
 ip=$(/bin/busybox ip -4 -o addr show eth1 2>/dev/null || /bin/busybox ip -4 -o addr show scope global); ip=${ip#*inet }; ip=${ip%%/*}; \
 /bin/busybox wget -q -O - http://$ip:8080/ | /bin/busybox grep -q hello; \
 /bin/busybox wget -q -O /dev/null "http://OUT/announce?$ip" || true; \
 until /bin/busybox wget -q -O /dev/null http://OUT/tried; do /bin/busybox sleep 0.1; done
`
	var group errgroup.Group
	group.Go(func() error {
		img, err := build(deadline(t), t, c, strings.ReplaceAll(serve, "OUT", out.addr), nil)
		if err != nil {
			err = fmt.Errorf("serving: %w\n%s", err, img.log)
		}
		return err
	})
	until(t, "the first build serves", func() bool { return out.query("/announce") != "" })
	img, err := build(deadline(t), t, c, fmt.Sprintf("RUN /bin/busybox nc -w 3 %s 8080 </dev/null && echo reached; echo tried\n", out.query("/announce")), nil)
	out.allow("/tried", "")
	if err != nil || !strings.Contains(img.log, "tried") || strings.Contains(img.log, "reached") {
		t.Errorf("one build reached another: %v\n%s", err, img.log)
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTwoDaemons(t *testing.T) {
	out := newOutside(t)
	one, two := start(t, config(t)), start(t, config(t))
	if one.Subnet().Overlaps(two.Subnet()) {
		t.Fatalf("both have %s", one.Subnet())
	}
	for _, d := range []*daemon.Daemon{one, two, one} {
		mustBuild(t, dial(t, d), fmt.Sprintf("RUN /bin/busybox wget -q -O - http://%s/ | /bin/busybox grep -q outside\n", out.addr), map[string]string{"no-cache": ""})
	}
}

// TestPod has a service in a container of BuildKit's gateway, steps of the same
// run that find it by name, and a step of another build that does not.
func TestPod(t *testing.T) {
	d := start(t, config(t))
	c := dial(t, d)
	release, err := d.Register("pod-1", daemon.Run{Pod: true, Hosts: []string{"127.0.0.1 db"}})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	args := map[string]string{"build-arg:NO_PROXY": daemon.Marker("pod-1")}
	const step = "RUN /bin/busybox wget -q -O - http://db:8080/ | /bin/busybox grep -q served; echo passed %s\n"

	mustBuild(t, c, "RUN echo before the services\n", args)
	_, err = c.Build(deadline(t), client.SolveOpt{}, "", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		return nil, withService(ctx, t, gw, func() {
			img, err := build(ctx, t, c, fmt.Sprintf(step, "one"), args)
			if err != nil || !strings.Contains(img.log, "passed one") {
				t.Errorf("a step of the run: %v\n%s", err, img.log)
			}
			if img, err := build(ctx, t, c, fmt.Sprintf(step, "two"), nil); err == nil {
				t.Errorf("a step of no run reached the service:\n%s", img.log)
			}
			img, err = build(ctx, t, c, "RUN /bin/busybox nc -w 3 127.0.0.1 8080 </dev/null || echo alone\n", nil)
			if err != nil || !strings.Contains(img.log, "alone") {
				t.Errorf("a step of no run: %v\n%s", err, img.log)
			}
		})
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	img, err := build(deadline(t), t, c, fmt.Sprintf(step, "late"), args)
	if err == nil || !strings.Contains(fmt.Sprint(err)+img.log, "services of this run have ended") {
		t.Errorf("a step after the services: %v\n%s", err, img.log)
	}
}

// withService runs a web server as a service of the pod while f runs.
func withService(ctx context.Context, t *testing.T, gw gateway.Client, f func()) error {
	busybox, err := os.ReadFile(harness.Tool(t, "busybox"))
	if err != nil {
		return err
	}
	state := llb.Scratch().File(llb.Mkdir("/bin", 0o755)).File(llb.Mkfile("/bin/busybox", 0o755, busybox)).
		File(llb.Mkdir("/www", 0o755)).File(llb.Mkfile("/www/index.html", 0o644, []byte("served\n")))
	def, err := state.Marshal(ctx)
	if err != nil {
		return err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return err
	}
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{
		Hostname: "db",
		Mounts:   []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: res.Ref}},
	})
	if err != nil {
		return err
	}
	ready, says := newLine()
	service, err := ctr.Start(ctx, gateway.StartRequest{
		Args: []string{"/bin/busybox", "sh", "-c", "test -z \"$SLIPWAY_POD$NO_PROXY\" || exit 9; /bin/busybox httpd -p 8080 -h /www && echo ready; exec /bin/busybox sleep 100000"},
		Env:  []string{"NO_PROXY=" + daemon.Marker("pod-1"), daemon.PodService},
		Cwd:  "/", Stdout: says, Stderr: says,
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- service.Wait() }()
	select {
	case <-ready:
		f()
	case err := <-ended:
		return fmt.Errorf("the service ended: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	_ = ctr.Release(ctx) // it says that the service was killed
	return nil
}

type line struct {
	bytes.Buffer
	ready chan struct{}
}

func newLine() (chan struct{}, *line) {
	l := &line{ready: make(chan struct{})}
	return l.ready, l
}

func (l *line) Write(b []byte) (int, error) {
	n, err := l.Buffer.Write(b)
	if strings.Contains(l.String(), "ready\n") {
		select {
		case <-l.ready:
		default:
			close(l.ready)
		}
	}
	return n, err
}

func (l *line) Close() error { return nil }

func TestSubnet(t *testing.T) {
	cfg := config(t)
	cfg.Subnet = netip.MustParsePrefix("10.201.7.0/24")
	d := start(t, cfg)
	if d.Subnet() != cfg.Subnet {
		t.Errorf("it is %s", d.Subnet())
	}
	img := mustBuild(t, dial(t, d), "RUN /bin/busybox ip -4 addr\n", nil)
	if !strings.Contains(img.log, " 10.201.7.") {
		t.Errorf("the step has another address:\n%s", img.log)
	}
	for _, bad := range []string{"10.201.7.0/28", "fd00::/64", "127.0.0.0/24"} {
		other := config(t)
		other.Subnet = netip.MustParsePrefix(bad)
		if _, err := daemon.Start(t.Context(), other); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// TestNotRoot runs Check as nobody.
func TestNotRoot(t *testing.T) {
	cfg := config(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := tempDir(t) + "/program"
	for _, err := range []error{exec.Command("cp", self, program).Run(), os.Chmod(program, 0o755), os.Chmod(program[:len(program)-len("/program")], 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = []string{"SLIPWAY_TEST_CHECK=" + cfg.Root}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cannot build images", "root: run it as root", "by its address"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q does not say %q", out, want)
		}
	}
}

func TestCheckListsWhatIsMissing(t *testing.T) {
	cfg := config(t)
	cfg.Binary, cfg.Runtime, cfg.CNIDir = "/nowhere/buildkitd", "/nowhere/runc", "/nowhere"
	err := daemon.Check(cfg)
	for _, want := range []string{"/nowhere/buildkitd: comes with Slipway", "package runc", "/nowhere/ptp: Debian package containernetworking-plugins"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if _, err := daemon.Start(t.Context(), cfg); err == nil {
		t.Error("it started")
	}
}
