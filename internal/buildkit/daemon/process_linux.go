package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"slipway/internal/buildkit/shim"
)

// process is one life of buildkitd: the first process of its namespaces.
type process struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	err   error         // why, once done is closed
	relay *relay
	logs  *logWriter

	answers  bool // guarded by the Daemon's mutex, as is answered
	answered bool

	once  sync.Once
	ended chan struct{} // closed when terminate was called
}

// launch starts buildkitd in its namespaces, network and control group.
func (d *Daemon) launch() (_ *process, err error) {
	if err := d.write(); err != nil {
		return nil, err
	}
	missing, err := d.group.create(d.cfg)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		d.cfg.Log.Warn("this machine cannot limit everything that builds use", "missing", strings.Join(missing, ", "))
	}
	config, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, feed.Close()) }() // its end is what tells init to start
	logs := &logWriter{log: d.cfg.Log}
	p := &process{logs: logs, done: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(d.cfg.Shim, "init")
	p.cmd.Env = []string{"PATH=" + searchPath()}
	p.cmd.Stdout, p.cmd.Stderr = logs, logs
	p.cmd.ExtraFiles = []*os.File{config, d.lock}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C on the terminal is for slipway, which then ends this in order
	}
	err = p.start()
	err = errors.Join(err, config.Close())
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", d.cfg.Shim, err)
	}
	if err := d.ready(p, feed); err != nil {
		_ = p.cmd.Process.Kill()
		return nil, errors.Join(err, p.wait())
	}
	return p, nil
}

// ready gives the first process its network and limits, then lets it go on.
func (d *Daemon) ready(p *process, feed io.Writer) error {
	pid := p.cmd.Process.Pid
	if err := d.group.join(pid); err != nil {
		return err
	}
	if err := d.net.attach(pid, d.cfg.Proxy); err != nil {
		return err
	}
	var resolv string
	if conf, local := localResolver(d.net.inside); local {
		resolv = filepath.Join(d.dir(), "resolv.conf")
		if err := os.WriteFile(resolv, conf, 0o644); err != nil {
			return err
		}
		var err error
		if p.relay, err = startRelay(pid, d.net.inside, hostServers, d.cfg.Log); err != nil {
			return err
		}
	}
	return json.NewEncoder(feed).Encode(shim.Init{
		Args:    []string{d.cfg.Binary, "--config", filepath.Join(d.dir(), "buildkitd.toml")},
		Env:     d.environ(),
		Private: []string{"/run/runc", "/var/lib/cni"},
		Resolv:  resolv,
		Rules:   insideRules,
		Nice:    5, // about a third, as the control group has
		OOM:     500,
	})
}

// environ is all of buildkitd's environment: nothing of ours that is not meant
// for it, since RUN steps of a build can find ways to see it.
func (d *Daemon) environ() []string {
	env := append([]string{
		"PATH=" + searchPath(),
		"HOME=" + d.dir(),
		"BUILDKIT_STEP_LOG_MAX_SIZE=-1",
		"BUILDKIT_STEP_LOG_MAX_SPEED=-1",
		shim.EnvFolder + "=" + d.dir(),
	}, d.cfg.Proxy.Environ()...)
	if len(d.cfg.CAFiles) > 0 {
		ca := filepath.Join(d.dir(), "ca.crt")
		env = append(env, "SSL_CERT_FILE="+ca, "GIT_SSL_CAINFO="+ca)
	}
	return env
}

// start runs the command from a thread that lives as long as the process does:
// the parent's death, of which the kernel tells the child, is that of a thread.
func (p *process) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if p.err = p.cmd.Wait(); p.err == nil {
			p.err = errors.New("it ended")
		}
		if said := p.logs.last(); said != "" {
			p.err = fmt.Errorf("%w; it said: %s", p.err, said)
		}
		close(p.done)
	}()
	return <-started
}

// wait returns when the process has ended and nothing of its namespaces is left.
func (p *process) wait() error {
	<-p.done
	if p.relay != nil {
		p.relay.close()
	}
	return p.err
}

// terminate asks the process to end, and makes it end if it does not within
// patience. It returns at once.
func (p *process) terminate(patience time.Duration) {
	p.once.Do(func() {
		close(p.ended)
		p.logs.hush()
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		go func() {
			select {
			case <-p.done:
			case <-time.After(patience):
				_ = p.cmd.Process.Kill()
			}
		}()
	})
}

// asked tells whether the end was asked for.
func (p *process) asked() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// logWriter hands buildkitd's log on, and remembers the last errors.
type logWriter struct {
	log *slog.Logger

	mu     sync.Mutex
	rest   []byte
	errors []string
	quiet  bool // the end was asked for, which buildkitd reports as an error
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		n, line, _ := bufio.ScanLines(w.rest, false)
		if n == 0 {
			if len(w.rest) > 1<<20 {
				w.rest = nil // no line of a log is that long
			}
			return len(b), nil
		}
		w.line(string(line))
		w.rest = w.rest[n:]
	}
}

func (w *logWriter) line(line string) {
	var fields map[string]any
	if json.Unmarshal([]byte(line), &fields) != nil {
		if line = strings.TrimSpace(line); line != "" {
			w.failure(line)
			w.warn("said", line)
		}
		return
	}
	level, _ := fields["level"].(string)
	said, _ := fields["msg"].(string)
	attrs := []any{"said", said}
	if err, ok := fields["error"].(string); ok {
		attrs = append(attrs, "err", err)
		said += ": " + err
	}
	if usual(said) {
		level = "info"
	}
	switch level {
	case "error", "fatal", "panic":
		w.failure(said)
		w.warn(attrs...)
	case "warning":
		w.warn(attrs...)
	default:
		w.log.Debug("buildkitd", attrs...)
	}
}

func (w *logWriter) warn(attrs ...any) {
	level := slog.LevelWarn
	if w.quiet {
		level = slog.LevelDebug
	}
	w.log.Log(context.Background(), level, "buildkitd", attrs...)
}

// usual tells whether buildkitd warns of what is no fault of it: a file system
// without fsverity, one worker, and builds that fail, which whoever asked for them
// is told.
func usual(said string) bool {
	return strings.HasPrefix(said, "failed check for fsverity support") ||
		strings.HasPrefix(said, "currently, only the default worker can be used") ||
		strings.HasPrefix(said, "failed to read oom_kill event") ||
		strings.HasPrefix(said, "/moby.buildkit.v1.") && strings.Contains(said, " returned error: rpc error: ")
}

// hush lowers what comes from now on.
func (w *logWriter) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = true
}

func (w *logWriter) failure(said string) {
	w.errors = append(w.errors, said)
	if len(w.errors) > 3 {
		w.errors = w.errors[1:]
	}
}

// last returns the last errors.
func (w *logWriter) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.errors, "; ")
}
