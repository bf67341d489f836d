package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Formats of files that hold images or their content.
const (
	FormatOCI           = "oci"            // OCI layout, a folder or a tar
	FormatDockerArchive = "docker-archive" // what docker save writes
	FormatRootFS        = "rootfs"         // a tar of a root file system
)

// archive is an opened input file and the temporary files made of it.
type archive struct {
	files  fileSet
	format string
	temp   string
}

// openArchive opens a folder or a tar, plain or compressed; "-" reads standard
// input. What it is shows in its content, unless format says it.
func openArchive(ctx context.Context, file, format string) (*archive, error) {
	switch format {
	case "", FormatOCI, FormatDockerArchive, FormatRootFS:
	default:
		return nil, fmt.Errorf("%q is not a format; use %s, %s or %s: %w", CleanText(format), FormatOCI, FormatDockerArchive, FormatRootFS, ErrInvalid)
	}
	temp, err := os.MkdirTemp("", "slipway-*")
	if err != nil {
		return nil, err
	}
	a := &archive{temp: temp, format: format}
	if a.files, err = openFiles(ctx, file, temp); err == nil {
		err = a.settleFormat(file)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *archive) settleFormat(file string) error {
	if a.format == "" {
		a.format = guessFormat(a.files)
	}
	if _, isFolder := a.files.(*folder); isFolder && a.format != FormatOCI {
		return fmt.Errorf("the folder %s is not an OCI layout: it has no oci-layout and index.json", file)
	}
	return nil
}

// Close removes the temporary files.
func (a *archive) Close() error {
	if a.files != nil {
		a.files.Close()
	}
	return os.RemoveAll(a.temp)
}

func openFiles(ctx context.Context, file, temp string) (fileSet, error) {
	in, spooled := os.Stdin, true // what cannot be read twice goes to a file
	if file != "-" {
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			return openFolder(file)
		}
		spooled = !info.Mode().IsRegular()
		if in, err = os.Open(file); err != nil {
			return nil, err
		}
	}
	plain, compression, err := decompressed(in)
	if err != nil {
		in.Close()
		return nil, err
	}
	defer plain.Close()
	if spooled || compression != "" {
		spool, err := os.Create(filepath.Join(temp, "input.tar"))
		if err == nil {
			_, err = io.Copy(spool, &cancelled{ctx: ctx, r: plain})
		}
		in.Close()
		if err != nil {
			return nil, err
		}
		in = spool
	}
	t, err := indexTar(in)
	if err != nil {
		in.Close()
		return nil, err
	}
	return t, nil
}

func guessFormat(files fileSet) string {
	_, marker := readSmall(files, "oci-layout", 4096)
	_, index := readSmall(files, "index.json", maxLayoutRoot)
	saved, _ := dockerImages(files)
	switch {
	case marker == nil && index == nil && !(len(saved) > 0 && plainLayers(files, saved)):
		return FormatOCI
	case len(saved) > 0:
		return FormatDockerArchive
	}
	return FormatRootFS
}

// plainLayers reports whether the layers of a saved image are not compressed.
// What docker save writes is a layout and a docker-archive at once; with plain
// layers the latter is better, since they get compressed on the way.
func plainLayers(files fileSet, saved []dockerImage) bool {
	for _, image := range saved {
		if len(image.Layers) == 0 {
			continue
		}
		rc, _, err := files.open(image.Layers[0])
		if err != nil {
			return false
		}
		_, compression, err := decompressed(rc)
		rc.Close()
		return err == nil && compression == ""
	}
	return false
}

// dockerImage is one image in a docker-archive's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func dockerImages(files fileSet) ([]dockerImage, error) {
	raw, err := readSmall(files, "manifest.json", maxManifest)
	if err != nil {
		return nil, err
	}
	var images []dockerImage
	if err := json.Unmarshal(raw, &images); err != nil {
		return nil, fmt.Errorf("manifest.json is not valid: %w", err)
	}
	for _, i := range images {
		if i.Config == "" {
			return nil, fmt.Errorf("manifest.json names no configuration")
		}
	}
	return images, nil
}

// choices is the error that lists what there is to choose from.
func choices(what string, names []string) error {
	for i, n := range names {
		names[i] = CleanText(n)
	}
	return fmt.Errorf("%s: %s; choose one with --image", what, strings.Join(names, ", "))
}
