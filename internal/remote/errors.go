package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrInvalid marks a reference, platform or option that is malformed: nothing
// was sent anywhere.
var ErrInvalid = errors.New("see the examples in --help")

// ErrNotFound marks a repository, tag or manifest that the registry does not have.
var ErrNotFound = errors.New("not found")

// ErrByDigestOnly marks the deletion of a tag in a registry that can delete
// only whole manifests.
var ErrByDigestOnly = errors.New("the registry can delete only by digest")

var errNoPlatform = errors.New("there is no image for")

// Error is the failure of one operation on one subject, in a person's words.
type Error struct {
	Op      string // what was tried: "inspect"
	Subject string // on what
	Problem string // what happened
	Hint    string // what to do next; may be empty
	Err     error  // the cause
}

func (e *Error) Error() string {
	text := e.Op + " " + e.Subject + ": " + e.Problem
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes ErrNotFound match whatever a registry answered 404 to.
func (e *Error) Is(target error) bool { return target == ErrNotFound && isNotFound(e.Err) }

// place is where an operation happened, as far as it is known.
type place struct {
	host, repo, subject string
}

func at(ref name.Reference) place {
	return place{host: hostText(ref.Context().Registry), repo: repoText(ref.Context()), subject: refText(ref)}
}

func atRepo(r name.Repository) place {
	return place{host: hostText(r.Registry), repo: repoText(r), subject: repoText(r)}
}

// hostText is the registry as people write it.
func hostText(r name.Registry) string {
	if r.RegistryStr() == name.DefaultRegistry {
		return "docker.io"
	}
	return r.RegistryStr()
}

func repoText(r name.Repository) string { return hostText(r.Registry) + "/" + r.RepositoryStr() }

func refText(r name.Reference) string {
	if d, ok := r.(name.Digest); ok {
		return repoText(r.Context()) + "@" + d.DigestStr()
	}
	return repoText(r.Context()) + ":" + r.Identifier()
}

// explain turns the failure of an operation into an *Error. An error that is
// one already, or that ErrInvalid marks, passes through.
func explain(op string, where place, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) || errors.Is(err, ErrInvalid) {
		return err
	}
	e := &Error{Op: op, Subject: CleanText(where.subject), Err: err}
	e.Problem, e.Hint = diagnose(where, err)
	return e
}

func diagnose(where place, err error) (problem, hint string) {
	if errors.Is(err, context.Canceled) {
		return "interrupted", ""
	}
	// Where HTTP is tried after HTTPS, the error holds both failures. A bad
	// certificate is the cause, whatever the other attempt met.
	if problem, hint = diagnoseCertificate(where, err); problem != "" {
		return problem, hint
	}
	var (
		answer *transport.Error
		record tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &answer):
		return diagnoseAnswer(where, answer)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return where.host + " speaks plain HTTP where HTTPS was expected", "add --plain-http if you trust the network"
	}
	return diagnoseNetwork(where, err)
}

func diagnoseAnswer(where place, e *transport.Error) (problem, hint string) {
	code, message := transport.ErrorCode(""), ""
	if len(e.Errors) > 0 {
		code, message = e.Errors[0].Code, CleanText(e.Errors[0].Message)
	}
	if req := e.Request; req != nil && req.URL != nil && where.host != "docker.io" && req.URL.Host != where.host && !strings.HasPrefix(req.URL.Path, "/v2/") && e.StatusCode != http.StatusUnauthorized {
		return fmt.Sprintf("%s, which %s sends clients to, answered %d %s", CleanText(req.URL.Host), where.host, e.StatusCode, http.StatusText(e.StatusCode)), ""
	}
	switch {
	case e.StatusCode == http.StatusUnauthorized:
		return where.host + " asks for a login, or refused the stored one", fmt.Sprintf("run 'docker login %s'", where.host)
	case e.StatusCode == http.StatusRequestEntityTooLarge && message != "": // a quota, which no other login changes
		return where.host + " refuses this: " + orStatus(message, e.StatusCode), ""
	case e.StatusCode == http.StatusForbidden || code == transport.DeniedErrorCode:
		return where.host + " refuses this: " + orStatus(message, e.StatusCode), fmt.Sprintf("if it has accounts, run 'docker login %s' with one that may", where.host)
	case code == transport.NameUnknownErrorCode:
		return "there is no such repository", fmt.Sprintf("list repositories with 'slipway catalog %s'", where.host)
	case code == transport.BlobUnknownErrorCode || e.StatusCode == http.StatusNotFound && strings.Contains(requestPath(e), "/blobs/sha256:"):
		return where.host + " has the manifest but not the blob " + lastElement(requestPath(e)), "push the image there again"
	case code == transport.ManifestUnknownErrorCode || e.StatusCode == http.StatusNotFound && strings.Contains(requestPath(e), "/manifests/"):
		return "there is no such tag or manifest", fmt.Sprintf("list tags with 'slipway tags %s'", where.repo)
	case e.StatusCode == http.StatusNotFound && strings.HasSuffix(requestPath(e), "/v2/"):
		return where.host + " does not answer as a registry", "check the host and the port"
	case e.StatusCode == http.StatusTooManyRequests || code == transport.TooManyRequestsErrorCode:
		return "the registry limits the rate of requests", fmt.Sprintf("wait, or run 'docker login %s'", where.host)
	case e.StatusCode == http.StatusRequestEntityTooLarge:
		return "the registry, or a proxy before it, refused the size of the upload", "raise its limit for request bodies"
	case e.StatusCode == http.StatusInsufficientStorage || e.StatusCode == http.StatusServiceUnavailable:
		return where.host + " cannot do this now: " + orStatus(message, e.StatusCode), ""
	case e.StatusCode >= 500:
		return "the registry failed: " + orStatus(message, e.StatusCode), "look at the registry's log, then try again"
	}
	return "the registry answered " + orStatus(strings.TrimPrefix(string(code)+": "+message, ": "), e.StatusCode), ""
}

func orStatus(message string, status int) string {
	if message = CleanText(message); message == "" || message == ": " {
		return fmt.Sprintf("%d %s", status, http.StatusText(status))
	}
	return fmt.Sprintf("%s (%d)", strings.TrimSuffix(shorten(message), ": "), status)
}

func requestPath(e *transport.Error) string {
	if e.Request == nil || e.Request.URL == nil {
		return ""
	}
	return e.Request.URL.Path
}

func lastElement(path string) string { return path[strings.LastIndex(path, "/")+1:] }

func diagnoseCertificate(where place, err error) (problem, hint string) {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		cert      x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &authority):
		return "x509: the certificate of " + where.host + " is signed by an authority that this machine does not trust",
			"if it is a Slipway, run 'slipway trust " + where.host + "' once; else install that authority's certificate, or add --insecure to skip the check"
	case errors.As(err, &hostname):
		return "x509: " + CleanText(hostname.Error()), "use the name in the certificate, or add --insecure to skip the check"
	case errors.As(err, &cert), errors.As(err, &verify):
		return CleanText(innermost(err)), "renew the registry's certificate, or add --insecure to skip the check"
	}
	return "", ""
}

func diagnoseNetwork(where place, err error) (problem, hint string) {
	var (
		dns     *net.DNSError
		timeout net.Error
	)
	text := innermost(err)
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s cannot be resolved", CleanText(dns.Name)), "check the spelling and this machine's DNS"
	case errors.Is(err, syscall.ECONNREFUSED), strings.Contains(text, "actively refused"):
		return "connection refused: nothing listens at " + where.host, "check that the registry runs, and its port"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection to " + where.host + " broke off", "try again; what arrived is not sent twice"
	case errors.As(err, &timeout) && timeout.Timeout():
		return where.host + " did not answer in time", "check the address and firewalls in between"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full", "free some space and try again"
	case strings.Contains(text, "error getting credentials"):
		return "the credential helper failed: " + shorten(redactURLs(text)), "check credsStore and credHelpers in Docker's config.json"
	}
	return shorten(redactURLs(text)), ""
}

// innermost is the text of err without the request that http.Client puts
// before it, whose address may hold secrets.
func innermost(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}

var urlSecrets = regexp.MustCompile(`(https?://)([^\s/@"]*@)?([^\s?"]*)(\?[^\s"]*)?`)

// redactURLs removes user information and query parameters from addresses.
func redactURLs(s string) string { return urlSecrets.ReplaceAllString(s, "$1$3") }

func shorten(s string) string {
	s = CleanText(s)
	if r := []rune(s); len(r) > 400 {
		return string(r[:400]) + "…"
	}
	return s
}

// failedAt reports whether the request that failed went to repo.
func failedAt(err error, repo name.Repository) bool {
	var (
		answer *transport.Error
		failed *url.Error
		sent   *url.URL
	)
	switch {
	case errors.As(err, &answer) && answer.Request != nil:
		sent = answer.Request.URL
	case errors.As(err, &failed):
		sent, _ = url.Parse(failed.URL)
	}
	return sent != nil && sent.Host == repo.RegistryStr() && strings.HasPrefix(sent.Path, "/v2/"+repo.RepositoryStr()+"/")
}

// isNotFound reports whether the registry answered that it does not have it.
func isNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
