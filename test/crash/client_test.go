//go:build linux

package crash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// client speaks the API without any cleverness: one request, one answer, no
// retries.
type client struct {
	base string
	http http.Client
}

func newClient(base string) *client {
	return &client{base: base, http: http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answer is a whole response.
type answer struct {
	request string // method and path, for messages
	sent    time.Time
	status  int
	header  http.Header
	body    []byte
}

func (a answer) String() string {
	body := a.body
	if len(body) > 300 {
		body = body[:300]
	}
	return fmt.Sprintf("%s: %d %q", a.request, a.status, body)
}

// code is the first error code of the specification's error body; a body that
// has not that form gives an error.
func (a answer) code() (code, message string, err error) {
	var doc struct {
		Errors []struct{ Code, Message string }
		Code   string // of the REST API's problems
		Title  string
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return "", "", fmt.Errorf("%s: not an error body: %w", a, err)
	}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
		return doc.Code, doc.Title, nil
	}
	if len(doc.Errors) == 0 {
		return "", "", fmt.Errorf("%s: an error body without errors", a)
	}
	return doc.Errors[0].Code, doc.Errors[0].Message, nil
}

// request is a request that the client sends. A nil Body is none. Stream hides
// the body's length, so that it goes out in chunked transfer encoding.
type request struct {
	method, path string
	header       map[string]string
	body         []byte
	stream       bool
}

// do sends a request. An error means that its outcome is unknown.
func (c *client) do(r request) (answer, error) {
	a := answer{request: r.method + " " + r.path, sent: time.Now()}
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
		if r.stream {
			body = struct{ io.Reader }{body}
		}
	}
	req, err := http.NewRequest(r.method, c.base+r.path, body)
	if err != nil {
		return a, err
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, fmt.Errorf("%s: %w", a.request, err)
	}
	return a, nil
}

func (c *client) get(path string) (answer, error) {
	return c.do(request{method: http.MethodGet, path: path, header: map[string]string{"Accept": "*/*"}})
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
