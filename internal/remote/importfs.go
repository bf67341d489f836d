package remote

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ImportOptions choose from an archive of images, or describe the image that
// is made of a root file system.
type ImportOptions struct {
	Format   string // one of the Format constants; empty means what the content shows
	Image    string // which image of several: a name, tag or digest
	Platform string // of the image that is made, or which to take from an index

	Entrypoint []string
	Cmd        []string
	Env        []string // NAME=VALUE
	Labels     map[string]string
	Workdir    string
	User       string
	Created    time.Time // zero means 1970-01-01, so equal input gives an equal digest
	// Compression of the layer: gzip (the default) or zstd.
	Compression string
}

func (o ImportOptions) describesImage() bool {
	return len(o.Entrypoint)+len(o.Cmd)+len(o.Env)+len(o.Labels) > 0 || o.Workdir != "" || o.User != "" || !o.Created.IsZero() || o.Compression != ""
}

// Push uploads an image from a docker-archive or an OCI layout, folder or tar,
// to a reference. An OCI layout keeps its digests.
func (c *Client) Push(ctx context.Context, file, ref string, o ImportOptions) (*Copy, error) {
	return c.upload(ctx, "push", file, ref, o)
}

// Import uploads what file holds: a root file system becomes an image of one
// layer, archives of images go as Push sends them.
func (c *Client) Import(ctx context.Context, file, ref string, o ImportOptions) (*Copy, error) {
	return c.upload(ctx, "import", file, ref, o)
}

func (c *Client) upload(ctx context.Context, op, file, ref string, o ImportOptions) (*Copy, error) {
	to, err := c.parseReference(ref)
	if err != nil {
		return nil, err
	}
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	where := place{subject: file}
	a, err := openArchive(ctx, file, o.Format)
	if err != nil {
		return nil, explain(op, where, err)
	}
	defer a.Close()
	src, root, err := contentOf(ctx, op, a, o, want)
	if err != nil {
		return nil, explain(op, where, err)
	}
	return c.send(ctx, op, CleanText(file), src, root, to, false)
}

func contentOf(ctx context.Context, op string, a *archive, o ImportOptions, want *v1.Platform) (source, *manifest, error) {
	if a.format == FormatRootFS && op == "push" {
		return nil, nil, fmt.Errorf("it holds no image; to make one of a root file system use 'slipway import'")
	}
	if a.format != FormatRootFS && o.describesImage() {
		return nil, nil, fmt.Errorf("it holds an image, which stays as it is; flags that describe an image are for root file systems: %w", ErrInvalid)
	}
	switch a.format {
	case FormatOCI:
		src := &layoutSource{files: a.files}
		desc, err := src.root(o.Image)
		if err != nil {
			return nil, nil, err
		}
		root, err := rootOf(ctx, src, desc, want)
		return src, root, err
	case FormatDockerArchive:
		src, err := fromDockerArchive(ctx, a, o.Image)
		if err != nil {
			return nil, nil, err
		}
		return src, src.root, nil
	}
	src, err := fromRootFS(ctx, a, o, want)
	if err != nil {
		return nil, nil, err
	}
	return src, src.root, nil
}

// fromRootFS makes a one-layer image of a tar. The tar's bytes become the
// layer unchanged, after a look at every entry.
func fromRootFS(ctx context.Context, a *archive, o ImportOptions, platform *v1.Platform) (*builtSource, error) {
	t, ok := a.files.(*tarball)
	if !ok {
		return nil, errNotTar
	}
	for _, e := range o.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return nil, fmt.Errorf("%q is not an environment variable, which looks like NAME=VALUE: %w", CleanText(e), ErrInvalid)
		}
	}
	layer, err := packRootFS(ctx, a.temp, t.file, o.Compression)
	if err != nil {
		return nil, err
	}
	layer.desc.MediaType = types.OCILayer
	if o.Compression == "zstd" {
		layer.desc.MediaType = types.OCILayerZStd
	}
	if platform == nil {
		platform, _ = v1.ParsePlatform(HostPlatform())
	}
	created := v1.Time{Time: time.Unix(0, 0).UTC()}
	if !o.Created.IsZero() {
		created.Time = o.Created.UTC()
	}
	config, err := json.Marshal(&v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant, Created: created,
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.diffID}},
		History: []v1.History{{Created: created, CreatedBy: "slipway import"}},
		Config: v1.Config{Entrypoint: o.Entrypoint, Cmd: o.Cmd, Env: o.Env, Labels: o.Labels,
			WorkingDir: o.Workdir, User: o.User},
	})
	if err != nil {
		return nil, err
	}
	return build(config, types.OCIManifestSchema1, types.OCIConfigJSON, []builtLayer{{desc: layer.desc, open: layer.open}})
}

func packRootFS(ctx context.Context, temp string, f *os.File, compression string) (*packed, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		err := checkEntries(r)
		r.CloseWithError(err)
		checked <- err
	}()
	layer, err := pack(ctx, temp, io.TeeReader(f, w), compression)
	w.CloseWithError(err)
	if bad := <-checked; bad != nil {
		return nil, bad
	}
	return layer, err
}

// checkEntries reads a whole tar and refuses names that lead out of the file
// system it describes.
func checkEntries(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errNotTar, err)
		}
		names := []string{h.Name}
		if h.Typeflag == tar.TypeLink {
			names = append(names, h.Linkname)
		}
		for _, name := range names {
			for _, element := range strings.Split(name, "/") {
				if element == ".." {
					return fmt.Errorf("the entry %q leads out of the archive", CleanText(name))
				}
			}
		}
	}
}
