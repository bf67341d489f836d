package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"

	"slipway/internal/buildkit/shim"
)

// Daemon is a supervised buildkitd. Its methods may be called at the same time.
type Daemon struct {
	cfg     Config
	id      string // of Root: eight hexadecimal digits, in the names of what is made on the host
	sockets string // folder of the sockets: Root, unless its path is too long
	socket  string
	lock    *os.File
	net     network
	group   *cgroup

	stop context.CancelFunc // ends the supervision
	ctx  context.Context
	done chan struct{} // closed when the supervision has ended; nil before it starts

	mu        sync.Mutex
	current   *process
	changed   chan struct{} // closed and replaced when current or failures change
	failures  int           // starts in a row that never answered
	failed    error         // the last of them
	runs      registry
	recycling bool
}

const (
	lockWait    = 15 * time.Second // a killed predecessor is gone much sooner
	stopWait    = 5 * time.Second  // SIGTERM to SIGKILL: buildkitd waits for what still builds
	recycleWait = time.Second      // the same where it is known that something hangs
	firstDelay  = 100 * time.Millisecond
	lastDelay   = 30 * time.Second
	tries       = 3 // failed starts after which Client gives up
)

// Start claims cfg.Root and removes what a killed predecessor left. It does not
// start buildkitd: the first Client does, so that a registry that never builds
// has no network for builds either. It fails with [ErrUnavailable] if the machine
// lacks something. ctx is for the start only; Close ends the daemon.
func Start(ctx context.Context, cfg Config) (_ *Daemon, err error) {
	if err := Check(cfg); err != nil {
		return nil, err
	}
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Root, filepath.Join(cfg.Root, "run"), filepath.Join(cfg.Root, "state")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("buildkitd: %w", err)
		}
	}
	if cfg.Root, err = filepath.EvalSymlinks(cfg.Root); err != nil {
		return nil, fmt.Errorf("buildkitd: %w", err)
	}
	if err := cfg.measure(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, id: id(cfg.Root), changed: make(chan struct{})}
	d.sockets = cfg.Root
	if len(cfg.Root) > 80 { // an address of a Unix socket has 108 bytes
		d.sockets = "/run/slipway-" + d.id
	}
	d.socket = filepath.Join(d.sockets, "buildkitd.sock")
	if d.lock, err = claim(ctx, filepath.Join(cfg.Root, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = d.lock.Close()
		}
	}()
	if d.net, err = newNetwork(d.id, cfg.Subnet); err != nil {
		return nil, err
	}
	d.group = findCgroup("slipway-" + d.id)
	if err := d.sweep(); err != nil {
		return nil, err
	}
	if d.runs, err = newRegistry(filepath.Join(d.dir(), shim.RunsFolder)); err != nil {
		return nil, err
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// id is short, since the name of an interface has 15 bytes.
func id(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:4])
}

// Address is where buildkitd listens once it runs, such as
// unix:///var/lib/slipway/buildkit/buildkitd.sock. Only its owner may connect.
func (d *Daemon) Address() string { return "unix://" + d.socket }

// Subnet is the prefix that everything which builds send comes from, as far as
// this machine sees it. A listener refuses it.
func (d *Daemon) Subnet() netip.Prefix { return d.net.subnet }

// Client starts buildkitd if need be, waits until it answers, and returns a
// connection that the caller closes. It waits as long as ctx allows, but not when
// buildkitd keeps failing at its start.
func (d *Daemon) Client(ctx context.Context) (*client.Client, error) {
	d.mu.Lock()
	if d.ctx.Err() == nil && d.done == nil {
		d.done = make(chan struct{})
		go d.supervise()
	}
	before := d.failures
	for {
		changed := d.changed
		answers := d.current != nil && d.current.answers
		failed := d.failures >= before+tries
		err := d.failed
		d.mu.Unlock()
		switch {
		case d.ctx.Err() != nil:
			return nil, errors.New("buildkitd: it was closed")
		case answers:
			c, err := d.connect(ctx)
			if err == nil {
				return c, nil
			}
			if ctx.Err() == nil { // it has just ended, which will be noticed
				select {
				case <-changed:
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
				break
			}
			return nil, fmt.Errorf("buildkitd: %w", err)
		case failed:
			return nil, fmt.Errorf("buildkitd does not start: %w", err)
		}
		if !answers {
			select {
			case <-changed:
			case <-d.ctx.Done():
			case <-ctx.Done():
				return nil, fmt.Errorf("waiting for buildkitd: %w", context.Cause(ctx))
			}
		}
		d.mu.Lock()
	}
}

// connect returns a connection over which buildkitd has answered: that it has a
// worker.
func (d *Daemon) connect(ctx context.Context) (*client.Client, error) {
	if _, err := os.Stat(d.socket); err != nil {
		return nil, err
	}
	c, err := client.New(ctx, d.Address())
	if err != nil {
		return nil, err
	}
	workers, err := c.ListWorkers(ctx)
	if err == nil && len(workers) == 0 {
		err = errors.New("it has no worker")
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close ends buildkitd: SIGTERM, then SIGKILL after 5 seconds. When it returns,
// nothing of it is left but the state below Root.
func (d *Daemon) Close() error {
	d.mu.Lock()
	closed := d.ctx.Err() != nil
	d.stop()
	done := d.done
	d.mu.Unlock()
	if closed {
		return nil
	}
	if done != nil {
		<-done
	}
	return errors.Join(d.sweep(), d.lock.Close())
}

// dir is where the files of one start are.
func (d *Daemon) dir() string { return filepath.Join(d.cfg.Root, "run") }

// supervise keeps one buildkitd running until Close.
func (d *Daemon) supervise() {
	defer close(d.done)
	delay := firstDelay
	for {
		started := time.Now()
		p, err := d.launch()
		if err == nil {
			d.note(func() { d.current = p })
			go d.await(p)
			stopping := context.AfterFunc(d.ctx, func() { p.terminate(stopWait) })
			err = p.wait()
			stopping()
		}
		answered := false
		d.note(func() {
			answered = p != nil && p.answered
			d.current = nil
			if answered {
				d.failures = 0
			} else {
				d.failures, d.failed = d.failures+1, err
			}
		})
		if err := d.sweep(); err != nil {
			d.cfg.Log.Warn("after buildkitd's end", "err", err)
		}
		if d.ctx.Err() != nil {
			return
		}
		if p != nil && p.asked() {
			continue // recycled
		}
		d.cfg.Log.Warn("buildkitd ended, starting it again", "err", err, "in", delay)
		if answered && time.Since(started) > lastDelay {
			delay = firstDelay
		}
		select {
		case <-time.After(delay):
		case <-d.ctx.Done():
			return
		}
		delay = min(2*delay, lastDelay)
	}
}

// await marks p as answering once it does.
func (d *Daemon) await(p *process) {
	for {
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		c, err := d.connect(ctx)
		cancel()
		if err == nil {
			_ = c.Close()
			d.note(func() { p.answers, p.answered = !p.asked(), true })
			return
		}
		select {
		case <-p.done:
			return
		case <-d.ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// note changes the state that Client waits for.
func (d *Daemon) note(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

// sweep removes what a buildkitd that no longer runs left on the host and in the
// files that are for one life only.
func (d *Daemon) sweep() error {
	err := errors.Join(d.net.remove(), d.group.remove())
	if d.sockets != d.cfg.Root {
		err = errors.Join(err, os.RemoveAll(d.sockets))
	}
	for _, path := range []string{d.socket, filepath.Join(d.cfg.Root, "state", "net")} {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		return fmt.Errorf("removing what buildkitd left: %w", err)
	}
	return nil
}

// claim locks a file for this process and the ones that inherit it.
func claim(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("buildkitd: %w", err)
	}
	for deadline := time.Now().Add(lockWait); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("buildkitd: %s is in use by another slipway (%w); stop it, or give this one another folder", filepath.Dir(path), err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("buildkitd: waiting for %s: %w", path, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// measure fills the limits that depend on this machine.
func (c *Config) measure() error {
	var disk unix.Statfs_t
	if err := unix.Statfs(c.Root, &disk); err != nil {
		return fmt.Errorf("buildkitd: size of the disk of %s: %w", c.Root, err)
	}
	const gb = 1_000_000_000
	total := int64(disk.Blocks) * disk.Bsize
	if c.MaxUsed == 0 {
		c.MaxUsed = min(total/5, 50*gb)
	}
	if c.Reserved == 0 {
		c.Reserved = c.MaxUsed / 10
	}
	if c.MinFree == 0 {
		c.MinFree = min(total/10, 20*gb)
	}
	if c.Memory == 0 {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return fmt.Errorf("buildkitd: size of the memory: %w", err)
		}
		c.Memory = int64(info.Totalram * uint64(info.Unit) / 4 * 3)
	}
	return nil
}

// write puts the files of one start in place.
func (d *Daemon) write() error {
	c := d.cfg
	if err := os.MkdirAll(d.sockets, 0o700); err != nil {
		return fmt.Errorf("a folder for buildkitd's socket: %w", err)
	}
	settings := shim.Settings{Runtime: c.Runtime, Cgroup: d.group.builds()}
	if len(c.CAFiles) > 0 {
		settings.CAFile = filepath.Join(d.dir(), "ca.crt")
		if err := bundleCAs(settings.CAFile, c.CAFiles); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	conflist, err := cni(d.net.containers, d.net.mtu)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		shim.SettingsFile: raw,
		"cni.conflist":    conflist,
		"buildkitd.toml":  []byte(c.toml(d.dir(), d.sockets, d.group.builds())),
	} {
		if err := os.WriteFile(filepath.Join(d.dir(), name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
