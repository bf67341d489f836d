package account

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/auth"
)

const (
	htpasswdLook = time.Second // between looks at the file
	// A file that was written so recently may be written again without a
	// change of its time, which file systems count in steps.
	htpasswdSettle = 2 * time.Second
	htpasswdLimit  = 1 << 20
	// A single check of a dearer hash would take seconds.
	maxHtpasswdCost = 14
)

// htpasswd is a file of "name:bcrypt-hash" lines, as registry:2 has it and
// 'htpasswd -B' writes it. Changes are seen within about a second.
type htpasswd struct {
	path   string
	log    *slog.Logger
	now    func() time.Time
	looked atomic.Int64 // when, in nanoseconds since 1970
	kept   atomic.Pointer[htpasswdFile]
	mu     sync.Mutex // held while reading
}

type htpasswdFile struct {
	info    os.FileInfo // nil: could not be read, or is too fresh to trust
	content string
	hashes  map[string]string
	cost    int
}

func openHtpasswd(path string, log *slog.Logger) (*htpasswd, error) {
	h := &htpasswd{path: path, log: log, now: time.Now}
	f, problems, err := readHtpasswd(path, h.now())
	if err != nil {
		return nil, err
	}
	h.note(f, problems)
	h.looked.Store(h.now().UnixNano())
	return h, nil
}

func (h *htpasswd) cost() int { h.users(); return h.kept.Load().cost }

// users are the hashes by name. The map must not be changed.
func (h *htpasswd) users() map[string]string {
	now := h.now().UnixNano()
	if last := h.looked.Load(); now-last < int64(htpasswdLook) && now >= last {
		return h.kept.Load().hashes
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if last := h.looked.Load(); now-last < int64(htpasswdLook) && now >= last {
		return h.kept.Load().hashes // another was first
	}
	old := h.kept.Load()
	info, err := os.Stat(h.path)
	if err != nil || old.info == nil || !sameFile(info, old.info) {
		f, problems, err := readHtpasswd(h.path, h.now())
		switch {
		case err != nil:
			// Who was taken off the list by removing the file must be out.
			if len(old.hashes) > 0 || old.content != "" {
				h.log.Error("the htpasswd file cannot be read: its users are shut out until it can", "file", h.path, "err", err)
			}
			h.kept.Store(&htpasswdFile{hashes: map[string]string{}})
		case f.content == old.content:
			h.kept.Store(f)
		default:
			h.log.Info("the htpasswd file was read again", "file", h.path, "users", len(f.hashes))
			h.note(f, problems)
		}
	}
	h.looked.Store(now)
	return h.kept.Load().hashes
}

func (h *htpasswd) note(f *htpasswdFile, problems []string) {
	for _, p := range problems {
		h.log.Warn("a line of the htpasswd file is refused: its user cannot log in", "file", h.path, "problem", p)
	}
	h.kept.Store(f)
}

func sameFile(a, b os.FileInfo) bool {
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

func readHtpasswd(path string, now time.Time) (*htpasswdFile, []string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read htpasswd file: %w", err)
	}
	if info.Size() > htpasswdLimit {
		return nil, nil, fmt.Errorf("read htpasswd file %s: it has %d bytes; the limit is %d", path, info.Size(), htpasswdLimit)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read htpasswd file: %w", err)
	}
	f := &htpasswdFile{content: string(content)}
	var problems []string
	f.hashes, f.cost, problems = ParseHtpasswd(f.content)
	if age := now.Sub(info.ModTime()); age > htpasswdSettle {
		f.info = info
	}
	return f, problems, nil
}

// ParseHtpasswd reads the lines of an htpasswd file: hashes by name, the
// highest cost among them, and what is wrong with lines that cannot be used, by
// number. Empty lines and those that begin with '#' are passed over.
func ParseHtpasswd(content string) (hashes map[string]string, cost int, problems []string) {
	hashes = map[string]string{}
	n := 0
	for line := range strings.Lines(content) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, c, err := parseHtpasswdLine(line)
		if _, twice := hashes[name]; err == nil && twice {
			err = fmt.Errorf("%s has a line above", name)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("line %d: %v", n, err))
			continue
		}
		hashes[name], cost = hash, max(cost, c)
	}
	return hashes, cost, problems
}

// parseHtpasswdLine never puts a hash into its errors.
func parseHtpasswdLine(line string) (name, hash string, cost int, err error) {
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return "", "", 0, fmt.Errorf("it is not NAME:HASH")
	}
	if err := auth.CheckName(name); err != nil {
		return "", "", 0, err
	}
	if cost, err = bcrypt.Cost([]byte(hash)); err != nil || len(hash) != 60 {
		return "", "", 0, fmt.Errorf("the password of %s is not bcrypt: set it again with 'htpasswd -B'", name)
	}
	if cost > maxHtpasswdCost {
		return "", "", 0, fmt.Errorf("the password of %s has bcrypt cost %d; the limit is %d", name, cost, maxHtpasswdCost)
	}
	return name, hash, cost, nil
}
