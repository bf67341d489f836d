package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"slipway/internal/oci"
)

// download reads a blob from an upstream and goes on where a connection broke.
// It verifies nothing.
type download struct {
	ctx    context.Context
	place  *place
	digest oci.Digest
	stall  time.Duration

	size   int64 // -1: unknown, it ends where the upstream ends it
	offset int64
	body   io.ReadCloser
	got    int64 // since the last attempt began
	idle   int   // attempts since one that brought something
}

const (
	maxIdleAttempts = 4
	firstPause      = 200 * time.Millisecond
)

// open sends the first request, to learn the size.
func (d *download) open() error {
	size, err := d.connect()
	if err != nil {
		return err
	}
	if d.size < 0 {
		d.size = size
	}
	return nil
}

func (d *download) close() {
	if d.body != nil {
		_ = d.body.Close()
		d.body = nil
	}
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.size >= 0 && d.offset >= d.size {
			return 0, io.EOF
		}
		if d.body == nil {
			if _, err := d.connect(); err != nil {
				if err := d.pause(err); err != nil {
					return 0, err
				}
				continue
			}
		}
		if d.size >= 0 {
			p = p[:min(int64(len(p)), d.size-d.offset)]
		}
		n, err := d.body.Read(p)
		d.offset += int64(n)
		if d.got += int64(n); d.got >= minProgress {
			d.idle = 0
		}
		if err == nil || (n > 0 && d.size >= 0) {
			if err != nil {
				d.close()
			}
			return n, nil
		}
		d.close()
		if errors.Is(err, io.EOF) && d.size < 0 {
			return n, io.EOF
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err := d.pause(err); err != nil || n > 0 {
			return n, err
		}
	}
}

// pause waits before the next attempt, or returns why there is none.
func (d *download) pause(err error) error {
	d.idle++
	switch {
	case d.ctx.Err() != nil:
		return d.ctx.Err()
	case d.idle >= maxIdleAttempts, unknown(err), oci.HasCode(err, oci.CodeTooManyRequests), oci.HasCode(err, oci.CodeBadUpstream):
		var told *oci.Error
		if errors.As(err, &told) {
			return err
		}
		d.place.backoff.failed()
		return oci.NewError(oci.CodeUpstreamDown, fmt.Sprintf("upstream %s broke off after %d bytes of blob %s: %s", d.place.Name, d.offset, d.digest, reason(err))).WithCause(err)
	}
	timer := time.NewTimer(firstPause << (d.idle - 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// connect asks for what is missing and returns the size of the whole blob, -1
// if the upstream does not say.
func (d *download) connect() (size int64, err error) {
	header := http.Header{}
	if d.offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(d.offset, 10)+"-")
	}
	resp, err := d.place.do(d.ctx, http.MethodGet, d.place.path, "/blobs/"+d.digest.String(), header, d.stall)
	if err != nil {
		return 0, err
	}
	size = resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		var first, last int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil || first != d.offset || d.offset == 0 {
			_ = resp.Body.Close()
			return 0, bad(d.place, fmt.Sprintf("answers with the part %.100q when asked for blob %s from byte %d", resp.Header.Get("Content-Range"), d.digest, d.offset))
		}
	}
	if size >= 0 && d.size >= 0 && size != d.size {
		_ = resp.Body.Close()
		return 0, bad(d.place, fmt.Sprintf("says that blob %s has %d bytes, but it has %d", d.digest, size, d.size))
	}
	if resp.StatusCode == http.StatusOK && d.offset > 0 {
		// It knows no ranges: skip what is here.
		if _, err := io.CopyN(io.Discard, resp.Body, d.offset); err != nil {
			_ = resp.Body.Close()
			return 0, err
		}
	}
	d.body, d.got = resp.Body, 0
	return size, nil
}
