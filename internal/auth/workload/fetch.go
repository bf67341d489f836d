package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	fetchTimeout = 10 * time.Second
	fetchLimit   = 1 << 20
	// fetchAgain is how long an answer stands. A token with a key that is not
	// known makes the library fetch the keys; whoever sends many of them must
	// not make this server ask as often.
	fetchAgain = 15 * time.Second
)

// bounded limits what issuers are asked and what they may answer.
type bounded struct {
	next http.RoundTripper
	now  func() time.Time
	mu   sync.Mutex // held while fetching: what waits gets the same answer
	kept map[string]fetched
}

type fetched struct {
	at     time.Time
	status int
	header http.Header
	body   []byte
	err    error
}

func newBounded(next http.RoundTripper, now func() time.Time) *bounded {
	return &bounded{next: next, now: now, kept: map[string]fetched{}}
}

// RoundTrip implements http.RoundTripper. The addresses are the two of an
// issuer, so that what is kept is bounded, too.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is not https: an issuer's keys must come from itself", r.URL.Redacted())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	address := r.URL.String()
	f, ok := b.kept[address]
	if !ok || b.now().Sub(f.at) >= fetchAgain {
		f = b.fetch(r)
		if r.Context().Err() == nil { // one caller who has gone says nothing about the issuer
			b.kept[address] = f
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return &http.Response{
		Status: http.StatusText(f.status), StatusCode: f.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: f.header.Clone(), Body: io.NopCloser(bytes.NewReader(f.body)), ContentLength: int64(len(f.body)), Request: r,
	}, nil
}

func (b *bounded) fetch(r *http.Request) fetched {
	f := fetched{at: b.now()}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		f.err = err
		return f
	}
	defer resp.Body.Close()
	f.status, f.header = resp.StatusCode, resp.Header
	f.body, f.err = io.ReadAll(io.LimitReader(resp.Body, fetchLimit+1))
	if len(f.body) > fetchLimit {
		f.err = fmt.Errorf("%s answers with more than %d bytes", r.URL.Redacted(), fetchLimit)
	}
	return f
}

// refuseRedirect keeps to the addresses that the issuer itself has named.
func refuseRedirect(*http.Request, []*http.Request) error {
	return errors.New("an issuer that redirects is not followed: set its own URL")
}
