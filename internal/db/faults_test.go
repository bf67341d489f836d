package db

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

// A disk that fails reads and one that returned other bytes look the same to
// SQLite; both must be told apart from a mistake of this program.
func TestIsBroken(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"pages": func(b []byte) []byte { return append(b[:4096:4096], bytes.Repeat([]byte{0xff}, len(b)-4096)...) },
		"head":  func(b []byte) []byte { return append(bytes.Repeat([]byte{0xff}, 100), b[100:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			d, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			for _, query := range []string{`CREATE TABLE t (x TEXT)`, `INSERT INTO t VALUES (hex(randomblob(50000)))`} {
				if _, err := d.Exec(query); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if d, err = sql.Open("sqlite", path); err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var x string
			if err := d.QueryRow(`SELECT x FROM t`).Scan(&x); !IsBroken(err) {
				t.Errorf("reading a damaged database: %v, which is not reported as broken", err)
			}
		})
	}
}
