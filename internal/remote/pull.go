package remote

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// PullOptions say what Pull writes.
type PullOptions struct {
	// Format is FormatOCI or FormatDockerArchive; empty means the latter for
	// files that end in .tar and the former for all others.
	Format string
	// Platform picks one image of an index. A docker-archive holds one anyway:
	// by default the only one, or the one for this machine.
	Platform string
}

// Pulled is what Pull wrote.
type Pulled struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // of what was written: the index, or one image
	MediaType string `json:"mediaType"`
	File      string `json:"file"`
	Format    string `json:"format"`
	Tally
}

// Pull writes what ref names to a file or folder. An OCI layout, a folder or
// with a name in .tar a file, keeps all platforms and exact bytes. A file
// appears under its name only when it is complete; a folder may be an OCI
// layout already and then gains an image.
func (c *Client) Pull(ctx context.Context, ref, file string, o PullOptions) (*Pulled, error) {
	r, err := c.parseReference(ref)
	if err != nil {
		return nil, err
	}
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	isTar := strings.HasSuffix(file, ".tar")
	switch {
	case o.Format == "" && isTar:
		o.Format = FormatDockerArchive
	case o.Format == "":
		o.Format = FormatOCI
	case o.Format != FormatOCI && o.Format != FormatDockerArchive:
		return nil, fmt.Errorf("%q is not a format; use %s or %s: %w", CleanText(o.Format), FormatOCI, FormatDockerArchive, ErrInvalid)
	}
	root, err := c.manifest(ctx, r)
	if err == nil && (want != nil || o.Format == FormatDockerArchive) {
		root, err = c.single(ctx, r.Context(), root, want)
	}
	if err != nil {
		return nil, explain("pull", at(r), err)
	}
	p := &Pulled{Reference: refText(r), Digest: root.desc.Digest.String(), MediaType: string(root.desc.MediaType), File: file, Format: o.Format}
	switch {
	case o.Format == FormatDockerArchive:
		err = c.pullDockerArchive(ctx, r, root, p)
	case isTar:
		err = c.pullLayoutTar(ctx, r, root, p)
	default:
		err = c.pullLayout(ctx, r, root, file, p)
	}
	if err != nil {
		where := at(r)
		where.subject += " to " + file
		return nil, explain("pull", where, err)
	}
	return p, nil
}

func (c *Client) pullLayout(ctx context.Context, r name.Reference, root *manifest, dir string, p *Pulled) error {
	dst, err := newLayoutSink(dir)
	if err != nil {
		return err
	}
	tag := ""
	if t, ok := r.(name.Tag); ok {
		tag = t.TagStr()
	}
	cp := newCopier(&repoSource{client: c, repo: r.Context()}, dst, c.opts)
	err = cp.run(ctx, root, tag)
	p.Tally = cp.tally
	return err
}

// pullLayoutTar makes the layout in a folder beside the file, then packs it.
func (c *Client) pullLayoutTar(ctx context.Context, r name.Reference, root *manifest, p *Pulled) error {
	dir, err := os.MkdirTemp(filepath.Dir(p.File), ".slipway-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := c.pullLayout(ctx, r, root, dir, p); err != nil {
		return err
	}
	return replaceFile(p.File, func(w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := addFolder(ctx, tw, dir); err != nil {
			return err
		}
		return tw.Close()
	})
}

// addFolder writes the files below dir in the order of their names.
func addFolder(ctx context.Context, tw *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return addFile(tw, filepath.ToSlash(rel), info.Size(), &cancelled{ctx: ctx, r: f})
	})
}

func addFile(tw *tar.Writer, name string, size int64, r io.Reader) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(tw, r)
	return err
}

func (c *Client) pullDockerArchive(ctx context.Context, r name.Reference, m *manifest, p *Pulled) error {
	cfg, err := c.config(ctx, r.Context(), m)
	if err != nil {
		return err
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("the image has %d layers where its configuration has %d", len(m.Layers), len(cfg.RootFS.DiffIDs))
	}
	return replaceFile(p.File, func(w io.Writer) error {
		a := &dockerArchive{src: &repoSource{client: c, repo: r.Context()}, tw: tar.NewWriter(w), progress: c.opts.Progress, tally: &p.Tally}
		return a.write(ctx, r, m)
	})
}

// dockerArchive writes one image in the form that docker load reads.
type dockerArchive struct {
	src      source
	tw       *tar.Writer
	progress Progress
	tally    *Tally
}

func (a *dockerArchive) write(ctx context.Context, r name.Reference, m *manifest) error {
	image := dockerImage{Config: m.Config.Digest.Hex + ".json", RepoTags: []string{}, Layers: []string{}}
	if _, ok := r.(name.Tag); ok {
		image.RepoTags = append(image.RepoTags, refText(r))
	}
	written := map[string]bool{}
	add := func(name string, d v1.Descriptor) error {
		if written[name] {
			return nil
		}
		written[name] = true
		return a.add(ctx, name, d)
	}
	if err := add(image.Config, *m.Config); err != nil {
		return err
	}
	for _, l := range m.Layers {
		name := l.Digest.Hex + ".tar.gz" // whatever the compression: docker load looks at the content
		image.Layers = append(image.Layers, name)
		if err := add(name, l); err != nil {
			return err
		}
	}
	list, err := json.Marshal([]dockerImage{image})
	if err != nil {
		return err
	}
	if err := addFile(a.tw, "manifest.json", int64(len(list)), strings.NewReader(string(list))); err != nil {
		return err
	}
	a.tally.Manifests++
	return a.tw.Close()
}

func (a *dockerArchive) add(ctx context.Context, name string, d v1.Descriptor) error {
	transfer := a.progress.Begin(d.Digest.String(), d.Size)
	counted := &countedBlob{desc: d, to: transfer, open: func() (io.ReadCloser, error) { return a.src.openBlob(ctx, d) }}
	rc, err := counted.Open()
	if err == nil {
		err = addFile(a.tw, name, d.Size, rc)
		rc.Close()
	}
	if err != nil {
		transfer.Done(Failed)
		return err
	}
	transfer.Done(Copied)
	a.tally.Blobs++
	a.tally.Bytes += d.Size
	return nil
}
