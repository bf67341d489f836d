// Command scale fills a data folder with as many repositories and tags as a
// large company has, in minutes rather than hours: it calls the functions that
// a push calls, without HTTP, many pushes to a transaction. What it makes is
// whole: every tag can be pulled, every blob is there, and history and events
// are what that many pushes leave behind.
//
//	go run ./test/scale --data DIR
//	bin/slipway serve --data DIR
//
// Repositories are called scale/r000000 and so on, their tags v000000 and so
// on. The server must not be running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s shape
	data := flag.String("data", "", "data folder to fill; it is made if it is missing")
	flag.IntVar(&s.repositories, "repositories", 10_000, "repositories")
	flag.IntVar(&s.tags, "tags", 100, "tags in each repository")
	flag.IntVar(&s.manifests, "manifests", 10, "images in each repository, which the tags are spread over")
	flag.Parse()
	if err := run(ctx, *data, s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// shape is what to make.
type shape struct{ repositories, tags, manifests int }

// repositoriesPerCommit keeps a transaction at a few thousand rows.
const repositoriesPerCommit = 10

func run(ctx context.Context, data string, s shape, out io.Writer) (err error) {
	if data == "" || s.repositories < 1 || s.manifests < 1 || s.tags < s.manifests {
		return errors.New("--data DIR is needed, and at least one repository, one image, and as many tags as images")
	}
	lock, err := lockData(data)
	if err != nil {
		return err
	}
	defer lock.Close()
	d, err := db.Open(ctx, filepath.Join(data, "slipway.db"), db.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	began := time.Now()
	for from := 0; from < s.repositories; from += repositoriesPerCommit {
		to := min(from+repositoriesPerCommit, s.repositories)
		err := d.Update(ctx, func(tx *db.Tx) error {
			for i := from; i < to; i++ {
				if err := s.fill(tx, i); err != nil {
					return fmt.Errorf("fill repository %s: %w", repositoryName(i), err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if to%1000 == 0 {
			fmt.Fprintf(out, "%d repositories, %d tags, %s\n", to, to*s.tags, time.Since(began).Round(time.Second))
		}
	}
	fmt.Fprintf(out, "%d repositories with %d tags in %s; the database has %d MB\n",
		s.repositories, s.repositories*s.tags, time.Since(began).Round(time.Second), d.Size()/1e6)
	return nil
}

// lockData takes the lock that a running server holds.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w; stop the server that uses it", dir, err)
	}
	return f, nil
}

func repositoryName(i int) string { return fmt.Sprintf("scale/r%06d", i) }

func tagName(i int) string { return fmt.Sprintf("v%06d", i) }

var byScale = meta.Change{Actor: "anonymous", Cause: "push"}

// fill pushes one repository's images: a layer that they share, a config and a
// manifest each, and their tags in turn.
func (s shape) fill(tx *db.Tx, number int) error {
	name := repositoryName(number)
	id, err := meta.EnsureRepository(tx, name)
	if err != nil {
		return err
	}
	layer := fmt.Appendf(nil, "the layer of %s", name)
	if err := putBlob(tx, id, layer); err != nil {
		return err
	}
	for i := range s.manifests {
		config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Labels":{"image":"%s/%d"}},"rootfs":{"type":"layers","diff_ids":["%s"]}}`,
			name, i, oci.FromBytes(oci.SHA256, layer))
		if err := putBlob(tx, id, config); err != nil {
			return err
		}
		digest, err := putManifest(tx, id, name, config, layer)
		if err != nil {
			return err
		}
		for tag := i; tag < s.tags; tag += s.manifests {
			if _, err := meta.MoveTag(tx, id, name, tagName(tag), digest, byScale); err != nil {
				return err
			}
		}
	}
	return nil
}

func putBlob(tx *db.Tx, id meta.RepoID, content []byte) error {
	d := oci.FromBytes(oci.SHA256, content)
	if _, err := meta.AddBlob(tx, meta.Blob{Digest: d, Size: int64(len(content)), Content: content}); err != nil {
		return err
	}
	return meta.Join(tx, id, d)
}

func putManifest(tx *db.Tx, id meta.RepoID, repository string, config, layer []byte) (oci.Digest, error) {
	content := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}]}`,
		oci.MediaTypeImageManifest, oci.FromBytes(oci.SHA256, config), len(config), oci.FromBytes(oci.SHA256, layer), len(layer))
	m, err := oci.ParseManifest(oci.MediaTypeImageManifest, content)
	if err != nil {
		return "", err
	}
	digest := oci.FromBytes(oci.SHA256, content)
	if err := meta.PutManifest(tx, id, m, digest, content); err != nil {
		return "", err
	}
	return digest, events.Append(tx, events.Event{Kind: events.ManifestPushed, Repository: repository, Digest: digest.String(), Actor: byScale.Actor, Cause: byScale.Cause})
}
