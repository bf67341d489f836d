package check

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// descriptor and document are as much of a manifest as matters here.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type document struct {
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Blobs     []descriptor `json:"blobs"`
	Manifests []descriptor `json:"manifests"`
}

// parts are the blobs that a manifest needs, and all that it points at with
// the kind of the edge.
func parts(content []byte) (blobs []descriptor, edges map[string]descriptor, err error) {
	var doc document
	if err := json.Unmarshal(content, &doc); err != nil {
		return nil, nil, err
	}
	edges = map[string]descriptor{}
	add := func(kind string, list []descriptor) {
		for _, d := range list {
			if strings.Contains(d.MediaType, "nondistributable") || strings.Contains(d.MediaType, "foreign") {
				edges["foreign "+d.Digest] = d // kept if it is there, not required
				continue
			}
			edges[kind+" "+d.Digest] = d
			if kind != "manifest" {
				blobs = append(blobs, d)
			}
		}
	}
	if doc.Config != nil {
		add("config", []descriptor{*doc.Config})
	}
	add("layer", doc.Layers)
	add("layer", doc.Blobs)
	add("manifest", doc.Manifests)
	return blobs, edges, nil
}

// manifests compares each manifest with what the database says of it.
func (c *checker) manifests() error {
	type row struct {
		repository int64
		digest     string
		size       int64
		content    []byte
	}
	var list []row
	err := c.each(`SELECT m.repository_id, m.digest, m.size, c.content FROM manifests m LEFT JOIN blob_content c ON c.digest = m.digest`, func(scan func(...any) error) error {
		var m row
		defer func() { list = append(list, m) }()
		return scan(&m.repository, &m.digest, &m.size, &m.content)
	})
	if err != nil {
		return err
	}
	c.report.Manifests = len(list)
	for _, m := range list {
		what := fmt.Sprintf("manifest %s of repository %d", m.digest, m.repository)
		if m.content == nil {
			c.problem("%s has no bytes", what)
			continue
		}
		if int64(len(m.content)) != m.size {
			c.problem("%s has %d bytes, its row says %d", what, len(m.content), m.size)
		}
		blobs, edges, err := parts(m.content)
		if err != nil {
			c.problem("%s is not JSON: %v", what, err)
			continue
		}
		if err := c.edges(what, m.digest, edges); err != nil {
			return err
		}
		if c.o.Sparse {
			continue
		}
		for _, d := range blobs {
			var size int64
			err := c.tx.QueryRow(`SELECT b.size FROM members m JOIN blobs b ON b.digest = m.digest WHERE m.repository_id = ? AND m.digest = ?`, m.repository, d.Digest).Scan(&size)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				c.problem("%s needs %s, which its repository does not hold", what, d.Digest)
			case err != nil:
				return err
			case size != d.Size:
				c.problem("%s says that %s has %d bytes, it has %d", what, d.Digest, d.Size, size)
			}
		}
	}
	return nil
}

// edges compares the rows, by which collection decides, with the document.
func (c *checker) edges(what, digest string, want map[string]descriptor) error {
	have := map[string]bool{}
	err := c.each(`SELECT kind, child FROM edges WHERE parent = ?`, func(scan func(...any) error) error {
		var kind, child string
		defer func() { have[kind+" "+child] = true }()
		return scan(&kind, &child)
	}, digest)
	if err != nil {
		return err
	}
	for e := range want {
		if !have[e] {
			c.problem("%s has no edge to its %s: collection would free that", what, e)
		}
	}
	for e := range have {
		if _, ok := want[e]; !ok {
			c.problem("%s has an edge to %s, which is not in it", what, e)
		}
	}
	return nil
}

// tombstones must keep the bytes of what can still be restored.
func (c *checker) tombstones() error {
	type row struct{ repository, digest string }
	var list []row
	err := c.each(`SELECT repository, digest FROM tombstones WHERE expires_at > ?`, func(scan func(...any) error) error {
		var r row
		defer func() { list = append(list, r) }()
		return scan(&r.repository, &r.digest)
	}, time.Now().UnixMilli())
	if err != nil {
		return err
	}
	for _, r := range list {
		what := fmt.Sprintf("deleted manifest %s of %s, which can still be restored,", r.digest, r.repository)
		var content []byte
		err := c.tx.QueryRow(`SELECT content FROM blob_content WHERE digest = ?`, r.digest).Scan(&content)
		if errors.Is(err, sql.ErrNoRows) {
			c.problem("%s has no bytes", what)
			continue
		}
		if err != nil {
			return err
		}
		blobs, _, err := parts(content)
		if err != nil {
			c.problem("%s is not JSON: %v", what, err)
			continue
		}
		for _, d := range blobs {
			var n int
			if err := c.tx.QueryRow(`SELECT COUNT(*) FROM blobs WHERE digest = ?`, d.Digest).Scan(&n); err != nil {
				return err
			}
			if n == 0 && !c.o.Sparse {
				c.problem("%s needs %s, which is not there", what, d.Digest)
			}
		}
	}
	return nil
}

// uploads must have at least the bytes that their clients were told of.
func (c *checker) uploads() error {
	return c.each(`SELECT id, size, store_state, tail, cancelled FROM uploads`, func(scan func(...any) error) error {
		var id, state string
		var size int64
		var tail []byte
		var cancelled bool
		if err := scan(&id, &size, &state, &tail, &cancelled); err != nil {
			return err
		}
		c.report.Uploads++
		if cancelled {
			return nil
		}
		have := int64(len(tail))
		if state != "" {
			info, err := os.Stat(filepath.Join(c.data, "uploads", state))
			if errors.Is(err, fs.ErrNotExist) {
				c.report.Lost++
				return nil
			}
			if err != nil {
				c.problem("upload %s: %v", id, err)
				return nil
			}
			have = info.Size()
		}
		if have < size {
			c.problem("upload %s has %d bytes, its row says %d", id, have, size)
		}
		return nil
	})
}
