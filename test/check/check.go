// Package check looks at a data folder that no server uses and says whether
// everything in it is true: that no row lacks its bytes, that all bytes are
// what their digest says, and that nothing points at something that is not
// there. It reads the tables with SQL of its own, so that a mistake in the
// server's queries does not hide itself.
//
// It is meant for folders in any state that a server may leave behind, also
// that of a crash before the next start. It changes nothing but the database's
// shared-memory file.
//
// Bytes without a row are no fault: collection frees them.
package check

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"database/sql"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// Options say what the server was allowed to accept.
type Options struct {
	// Sparse: manifests may point at blobs that are not there (--sparse all).
	Sparse bool
}

// Report is what was looked at and what was wrong.
type Report struct {
	Blobs, Inline, Members, Manifests, Tags, Uploads int
	Lost                                             int      // uploads that a crash cut off while they were being finished: their bytes have left them, and no row names the blob yet
	Bytes                                            int64    // that were read and hashed
	Problems                                         []string // empty: the folder is sound
}

func (r Report) String() string {
	return fmt.Sprintf("%d blobs (%d inline) of %d bytes, %d members, %d manifests, %d tags, %d uploads, %d problems",
		r.Blobs, r.Inline, r.Bytes, r.Members, r.Manifests, r.Tags, r.Uploads, len(r.Problems))
}

// Folder fails the test if the data folder is not sound.
func Folder(tb testing.TB, data string, o Options) Report {
	tb.Helper()
	r, err := Run(tb.Context(), data, o)
	if err != nil {
		tb.Fatalf("checking %s: %v", data, err)
	}
	for _, p := range r.Problems {
		tb.Errorf("data folder: %s", p)
	}
	return r
}

// Run checks a data folder. An error means that it could not be checked.
func Run(ctx context.Context, data string, o Options) (Report, error) {
	path := filepath.Join(data, "slipway.db")
	if _, err := os.Stat(path); err != nil {
		return Report{}, err
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)"}}.Encode()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return Report{}, err
	}
	defer db.Close()
	c := &checker{data: data, o: o}
	// One snapshot; there is no writer, but a test may have forgotten one.
	if c.tx, err = db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return Report{}, err
	}
	defer c.tx.Rollback() //nolint:errcheck // a snapshot has nothing to lose
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"database", c.database}, {"blobs", c.blobs}, {"references", c.references},
		{"manifests", c.manifests}, {"tombstones", c.tombstones}, {"uploads", c.uploads},
	} {
		if err := step.do(); err != nil {
			return c.report, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return c.report, nil
}

type checker struct {
	data   string
	o      Options
	tx     *sql.Tx
	report Report
}

func (c *checker) problem(format string, args ...any) {
	c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
}

// each calls fn for every row of a query.
func (c *checker) each(query string, fn func(scan func(...any) error) error, args ...any) error {
	rows, err := c.tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// none reports a problem for every row of a query, whose one column says what
// is wrong.
func (c *checker) none(query string, args ...any) error {
	return c.each(query, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		c.problem("%s", text)
		return nil
	}, args...)
}

func (c *checker) database() error {
	return c.each(`PRAGMA integrity_check`, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		if text != "ok" {
			c.problem("database: %s", text)
		}
		return nil
	})
}

// blobs reads all bytes that rows name.
func (c *checker) blobs() error {
	err := c.each(`SELECT b.digest, b.size, b.store_key, c.content, c.digest IS NOT NULL FROM blobs b LEFT JOIN blob_content c ON c.digest = b.digest`, func(scan func(...any) error) error {
		var digest string
		var size int64
		var key sql.NullString
		var content []byte
		var inline bool
		if err := scan(&digest, &size, &key, &content, &inline); err != nil {
			return err
		}
		c.report.Blobs++
		if inline {
			c.report.Inline++
			c.content("inline bytes of blob "+digest, digest, size, strings.NewReader(string(content)))
		}
		if !key.Valid {
			if !inline {
				c.problem("blob %s has a row but no bytes: neither inline nor a key", digest)
			}
			return nil
		}
		c.file("file of blob "+digest, digest, size, filepath.Join(c.data, "blobs", filepath.FromSlash(key.String)))
		return nil
	})
	if err != nil {
		return err
	}
	return c.none(`SELECT 'inline bytes of ' || digest || ' have no row' FROM blob_content c WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = c.digest)`)
}

func (c *checker) file(what, digest string, size int64, path string) {
	f, err := os.Open(path)
	if err != nil {
		c.problem("%s: %v", what, err)
		return
	}
	defer f.Close()
	c.content(what, digest, size, f)
}

func (c *checker) content(what, digest string, size int64, r io.Reader) {
	algorithm, want, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		c.problem("%s: unknown algorithm", what)
		return
	}
	n, err := io.Copy(h, r)
	c.report.Bytes += n
	switch got := hex.EncodeToString(h.Sum(nil)); {
	case err != nil:
		c.problem("%s: %v", what, err)
	case n != size:
		c.problem("%s has %d bytes, its row says %d", what, n, size)
	case got != want:
		c.problem("%s has digest %s:%s", what, algorithm, got)
	}
}

// references looks for rows that point at rows that are not there.
func (c *checker) references() error {
	for _, query := range []string{
		`SELECT 'member ' || m.digest || ' of repository ' || m.repository_id || ' has no blob' FROM members m WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = m.digest)`,
		`SELECT 'member ' || m.digest || ' has no repository ' || m.repository_id FROM members m WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = m.repository_id)`,
		`SELECT 'manifest ' || m.digest || ' has no repository ' || m.repository_id FROM manifests m WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = m.repository_id)`,
		`SELECT 'tag ' || t.name || ' has no repository ' || t.repository_id FROM tags t WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = t.repository_id)`,
		`SELECT 'tag ' || t.name || ' of repository ' || t.repository_id || ' points at ' || t.digest || ', which is no manifest there' FROM tags t
			WHERE NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = t.repository_id AND m.digest = t.digest)`,
		`SELECT 'edges of ' || e.parent || ' have no content' FROM edges e WHERE NOT EXISTS (SELECT 1 FROM blob_content c WHERE c.digest = e.parent) GROUP BY e.parent`,
		`SELECT 'key ' || g.store_key || ' is to be deleted but blob ' || b.digest || ' needs it' FROM garbage g JOIN blobs b ON b.store_key = g.store_key`,
		`SELECT 'two blobs have the key ' || store_key FROM blobs WHERE store_key IS NOT NULL GROUP BY store_key HAVING COUNT(*) > 1`,
		`SELECT 'repository ' || name || ' uses ' || bytes || ' bytes by its counter and ' || held || ' by its rows' FROM (SELECT r.name, r.bytes,
			COALESCE((SELECT SUM(b.size) FROM members m JOIN blobs b ON b.digest = m.digest WHERE m.repository_id = r.id), 0)
			+ COALESCE((SELECT SUM(size) FROM manifests m WHERE m.repository_id = r.id), 0) AS held FROM repositories r) WHERE bytes <> held`,
		`SELECT 'all blobs have ' || bytes || ' bytes by their counter and ' || held || ' by their rows' FROM (SELECT bytes, (SELECT COALESCE(SUM(size), 0) FROM blobs) AS held FROM content) WHERE bytes <> held`,
	} {
		if err := c.none(query); err != nil {
			return err
		}
	}
	for query, n := range map[string]*int{`SELECT COUNT(*) FROM members`: &c.report.Members, `SELECT COUNT(*) FROM tags`: &c.report.Tags} {
		if err := c.tx.QueryRow(query).Scan(n); err != nil {
			return err
		}
	}
	return nil
}
