package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// FilesConfig is what a Files is made of.
type FilesConfig struct {
	Cert, Key string   // paths of PEM files; Cert has the chain, the server's first
	Names     []string // names that the certificate should have
	Log       *slog.Logger
	Now       func() time.Time // default time.Now
	Every     time.Duration    // between two looks at the files. Default 10 seconds
}

// fileEndWarning is how long before its end a certificate is warned of that
// something else should have renewed.
const fileEndWarning = 14 * day

// Files is a certificate that something else makes and renews. What is read is
// compared, not times of files: every way to replace them is seen.
type Files struct {
	config  FilesConfig
	current atomic.Pointer[tls.Certificate]

	// The rest belongs to Open and then to Run.
	read   [sha256.Size]byte // what the files had when they were last looked at
	warned time.Time
}

var _ Source = (*Files)(nil)

// OpenFiles reads the files. That the key is not the certificate's is an error;
// what clients would stumble over, its end or missing names, is logged.
func OpenFiles(c FilesConfig) (*Files, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Every == 0 {
		c.Every = 10 * time.Second
	}
	var err error
	if c.Names, err = parseNames(c.Names); err != nil {
		return nil, err
	}
	f := &Files{config: c}
	if _, err := f.load(); err != nil {
		return nil, err
	}
	f.warnOfEnd()
	return f, nil
}

// CA implements Source.
func (f *Files) CA() *x509.Certificate { return nil }

// Certificate implements Source.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// Run implements Source. A pair that cannot be used is logged once, and the
// last good one is kept.
func (f *Files) Run(ctx context.Context) {
	tick := time.NewTicker(f.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := f.load(); {
		case err != nil && changed:
			f.config.Log.Error("the new certificate cannot be used, the last one is kept", "err", err, "until", f.current.Load().Leaf.NotAfter.Format(time.DateOnly))
		case changed:
			leaf := f.current.Load().Leaf
			f.warned = time.Time{}
			f.config.Log.Info("read a new certificate", "file", f.config.Cert, "fingerprint", Fingerprint(leaf), "until", leaf.NotAfter.Format(time.DateOnly))
		}
		f.warnOfEnd()
	}
}

// load reads the files and takes over what is new and good.
func (f *Files) load() (changed bool, err error) {
	cert, certErr := os.ReadFile(f.config.Cert)
	key, keyErr := os.ReadFile(f.config.Key)
	err = errors.Join(certErr, keyErr)
	seen := sha256.Sum256(bytes.Join([][]byte{cert, key, []byte(fmt.Sprint(err))}, []byte{0}))
	if seen == f.read {
		return false, err
	}
	f.read = seen
	if err != nil {
		return true, fmt.Errorf("read the certificate: %w", err)
	}
	both, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return true, fmt.Errorf("%s and %s are not a certificate and its key: %w", f.config.Cert, f.config.Key, err)
	}
	f.current.Store(&both)
	if lacks := lacking(both.Leaf, f.config.Names); len(lacks) > 0 {
		f.config.Log.Warn("the certificate lacks names by which clients should come", "file", f.config.Cert, "lacks", lacks)
	}
	return true, nil
}

// warnOfEnd warns once a day.
func (f *Files) warnOfEnd() {
	now := f.config.Now()
	leaf := f.current.Load().Leaf
	remains := leaf.NotAfter.Sub(now)
	if now.Sub(f.warned) < day {
		return
	}
	switch {
	case remains <= 0:
		f.config.Log.Error("the certificate has ended: clients refuse it; put a new one in its place, it is read at once", "file", f.config.Cert, "end", leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		f.config.Log.Error("the certificate is not valid yet: clients refuse it; look at this machine's clock", "file", f.config.Cert, "begin", leaf.NotBefore.Format(time.DateOnly))
	case remains < fileEndWarning && left(leaf, now) < 1.0/3: // some live for days only
		f.config.Log.Warn("the certificate ends soon: put a new one in its place, it is read at once", "file", f.config.Cert, "days", days(remains))
	default:
		return
	}
	f.warned = now
}
