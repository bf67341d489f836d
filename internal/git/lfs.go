package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// object is a file whose content is kept beside git, by Git LFS
// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
//
// Every file that is a pointer in the specification's strict form is taken for
// one, whether .gitattributes says so or not: the promise is that no pointer
// reaches an image, and a pointer that lost its attribute is the usual way for
// one to get there.
type object struct {
	oid  string // sha256 in hex
	size int64

	path       string
	from       *fetched
	sha        string // of the commit, for .lfsconfig
	executable bool
}

const (
	maxPointer = 1024 // bytes; the specification's limit
	batchSize  = 100  // objects in one request
	maxAnswer  = 4 << 20
	lfsType    = "application/vnd.git-lfs+json"
)

var pointer = regexp.MustCompile(`^version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\r?\n` +
	`(?:ext-[0-9]-[a-zA-Z0-9]+ sha256:[0-9a-f]{64}\r?\n)*` +
	`oid sha256:([0-9a-f]{64})\r?\nsize ([0-9]{1,18})\r?\n?$`)

func parsePointer(text []byte) (object, bool) {
	m := pointer.FindSubmatch(text)
	if m == nil {
		return object{}, false
	}
	size, err := strconv.ParseInt(string(m[2]), 10, 64)
	return object{oid: string(m[1]), size: size}, err == nil
}

// fetchObjects writes the files that the pointers stand for.
func (w *writer) fetchObjects(ctx context.Context) error {
	wanted := map[*fetched][]object{}
	var order []*fetched
	for _, o := range w.objects {
		if wanted[o.from] == nil {
			order = append(order, o.from)
		}
		wanted[o.from] = append(wanted[o.from], o)
		if err := w.spend(o.size); err != nil {
			return fmt.Errorf("%s: %w", o.path, err)
		}
	}
	for _, f := range order {
		l := &lfs{from: f}
		missing := map[string]object{}
		for _, o := range wanted[f] {
			if info, err := os.Stat(f.objectFile(o.oid)); err != nil || info.Size() != o.size {
				missing[o.oid] = o
			}
		}
		if err := l.fetch(ctx, missing); err != nil {
			return err
		}
		for _, o := range wanted[f] {
			if err := w.object(o); err != nil {
				return fmt.Errorf("%s: %w", o.path, err)
			}
		}
	}
	return nil
}

// objectFile is where an object is kept: with the mirror, so that who may read
// one repository gets nothing of another's by naming its hash.
func (f *fetched) objectFile(oid string) string {
	return filepath.Join(f.mirror, "lfs", oid[:2], oid)
}

func (w *writer) object(o object) error {
	f, err := os.Open(o.from.objectFile(o.oid))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if err := w.file(o.path, o.executable, io.TeeReader(f, h), o.size); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != o.oid {
		return fmt.Errorf("%w: the copy of %s that was kept is damaged; it was removed, try again: %w", ErrLFS, o.oid, os.Remove(f.Name()))
	}
	return nil
}

// lfs talks to the LFS server of one repository.
type lfs struct {
	from   *fetched
	client *http.Client
}

func (l *lfs) fetch(ctx context.Context, missing map[string]object) (err error) {
	if len(missing) == 0 {
		return nil
	}
	if l.client, err = newGuard(l.from.o).client(l.from.o); err != nil {
		return err
	}
	defer l.client.CloseIdleConnections()
	var batch []object
	for _, o := range missing {
		batch = append(batch, o)
		if len(batch) == batchSize {
			if err := l.batch(ctx, batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	if len(batch) > 0 {
		return l.batch(ctx, batch)
	}
	return nil
}

// endpoint is where the objects are: what .lfsconfig says, else beside the
// repository. Over ssh the same host is asked by https.
func (l *lfs) endpoint(ctx context.Context, sha string) (Options, string, error) {
	o := l.from.o
	base := o.URL
	if nodes, err := l.from.list(ctx, sha); err == nil {
		for _, n := range nodes {
			if n.path != ".lfsconfig" || n.mode == "120000" {
				continue
			}
			config, err := l.from.config(ctx, n.id)
			if err != nil {
				return o, "", fmt.Errorf("read .lfsconfig: %w", err)
			}
			if address := config["lfs.url"]; address != "" {
				u, err := ParseURL(address)
				if err != nil || u.Scheme != "https" && u.Scheme != "http" {
					return o, "", fmt.Errorf("lfs.url of .lfsconfig: %w", errors.Join(err, ErrURL))
				}
				return o.elsewhere(u), strings.TrimSuffix(u.Remote, "/"), nil
			}
		}
	}
	switch base.Scheme {
	case "ssh":
		host, _ := splitPort(base)
		_, after, _ := strings.Cut(base.Remote, ":")
		if strings.Contains(base.Remote, "://") {
			p, err := url.Parse(base.Remote)
			if err != nil {
				return o, "", err
			}
			after = p.Path
		}
		u, err := ParseURL("https://" + host + "/" + strings.TrimPrefix(after, "/"))
		if err != nil {
			return o, "", err
		}
		base, o.URL = u, u
	case "file":
		return o, "", errors.New("a repository on this machine has no LFS server")
	}
	remote := strings.TrimSuffix(base.Remote, "/")
	if !strings.HasSuffix(remote, ".git") {
		remote += ".git"
	}
	return o, remote + "/info/lfs", nil
}

type lfsAction struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header"`
}

type lfsAnswer struct {
	Message string `json:"message"`
	Objects []struct {
		OID     string               `json:"oid"`
		Size    int64                `json:"size"`
		Actions map[string]lfsAction `json:"actions"`
		Error   *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	} `json:"objects"`
}

// batch asks where the objects are and brings them.
func (l *lfs) batch(ctx context.Context, objects []object) error {
	first := objects[0].path
	o, endpoint, err := l.endpoint(ctx, objects[0].sha)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", first, ErrLFS, err)
	}
	type ref struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	request := map[string]any{"operation": "download", "transfers": []string{"basic"}, "hash_algo": "sha256"}
	var refs []ref
	byID := map[string]object{}
	for _, x := range objects {
		refs = append(refs, ref{x.oid, x.size})
		byID[x.oid] = x
	}
	request["objects"] = refs
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var answer lfsAnswer
	if err := l.post(ctx, o, endpoint+"/objects/batch", body, &answer); err != nil {
		return fmt.Errorf("%s: %w: %w", first, ErrLFS, err)
	}
	for _, a := range answer.Objects {
		x, asked := byID[a.OID]
		if !asked {
			continue
		}
		delete(byID, a.OID)
		if a.Error != nil {
			return fmt.Errorf("%s: %w: %s says %d: %s", x.path, ErrLFS, o.URL.Host, a.Error.Code, strings.Map(visible, a.Error.Message))
		}
		if err := l.download(ctx, o, x, a.Actions["download"]); err != nil {
			return fmt.Errorf("%s: %w: %w", x.path, ErrLFS, err)
		}
	}
	for _, x := range byID {
		return fmt.Errorf("%s: %w: %s says nothing about it", x.path, ErrLFS, o.URL.Host)
	}
	return nil
}

func (l *lfs) post(ctx context.Context, o Options, address string, body []byte, answer *lfsAnswer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Accept", lfsType)
	r.Header.Set("Content-Type", lfsType)
	if user, password := o.login(o.URL); user != "" || password != "" {
		r.SetBasicAuth(user, password)
	}
	response, err := l.do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("%s answers what is not JSON: %w", o.URL.Host, err)
	}
	return nil
}

// do returns an answer of status 200, whose body is to be closed.
func (l *lfs) do(r *http.Request) (*http.Response, error) {
	response, err := l.client.Do(r)
	if err != nil {
		return nil, plainError(err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s answers %s", r.URL.Host, response.Status)
	}
	return response, nil
}

// download brings one object to its place, if it is what the pointer says.
func (l *lfs) download(ctx context.Context, o Options, x object, from lfsAction) error {
	u, err := url.Parse(from.Href)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("the server gives no address for it")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from.Href, nil)
	if err != nil {
		return plainError(err)
	}
	for name, value := range from.Header {
		r.Header.Set(name, value)
	}
	if u.Host == o.URL.Host && u.Scheme == o.URL.Scheme && r.Header.Get("Authorization") == "" && u.RawQuery == "" {
		if user, password := o.login(o.URL); user != "" || password != "" {
			r.SetBasicAuth(user, password)
		}
	}
	response, err := l.do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return l.from.keep(x, response.Body)
}

// keep stores an object, complete and verified or not at all.
func (f *fetched) keep(x object, content io.Reader) error {
	name := f.objectFile(x.oid)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(name), "part-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // when it has not become the object
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(t, h), io.LimitReader(content, x.size+1))
	if err == nil && n != x.size {
		err = fmt.Errorf("it has not the %d bytes that its pointer says", x.size)
	}
	if err == nil && hex.EncodeToString(h.Sum(nil)) != x.oid {
		err = errors.New("its content is not what its pointer says")
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), name)
}

// plainError leaves out the address, which may carry a signature.
func plainError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
