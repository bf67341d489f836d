package remote

import (
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Outcome says how a blob came to be where it was wanted.
type Outcome string

const (
	Copied  Outcome = "copied"  // its bytes were transferred
	Mounted Outcome = "mounted" // the registry linked it from another repository
	Existed Outcome = "exists"  // it was there before
	Failed  Outcome = "failed"
)

// Progress hears about the blobs of an operation. Its methods are called from
// several goroutines at once.
type Progress interface {
	// Begin announces a blob. Every Begin is followed by one Done.
	Begin(digest string, size int64) Transfer
}

// Transfer hears about one blob.
type Transfer interface {
	// Add reports n more bytes. It is negative when a transfer starts again.
	Add(n int64)
	Done(Outcome)
}

type silence struct{}

func (silence) Begin(string, int64) Transfer { return silence{} }
func (silence) Add(int64)                    {}
func (silence) Done(Outcome)                 {}

// countedBlob reports the bytes that pass to a Transfer; opening it again takes
// back what the earlier attempt reported.
type countedBlob struct {
	desc   v1.Descriptor
	open   func() (io.ReadCloser, error)
	to     Transfer
	seen   int64
	opened bool
}

func (b *countedBlob) Open() (io.ReadCloser, error) {
	if b.seen > 0 {
		b.to.Add(-b.seen)
		b.seen = 0
	}
	b.opened = true
	rc, err := b.open()
	if err != nil {
		return nil, err
	}
	return &countedReader{ReadCloser: rc, blob: b}, nil
}

type countedReader struct {
	io.ReadCloser
	blob *countedBlob
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.blob.seen += int64(n)
		r.blob.to.Add(int64(n))
	}
	return n, err
}
