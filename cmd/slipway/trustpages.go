//go:build unix

package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"slipway/internal/auth"
	"slipway/internal/auth/token"
	"slipway/internal/edge"
	"slipway/internal/edge/certs"
	"slipway/internal/oci"
	"slipway/internal/rest"
	"slipway/internal/trust"
)

// The pages below /trust are what a machine needs before it can trust the
// server. They are the same for everybody, and no secret.

// hostOf is the HOST:PORT under which a client knows the server.
func (s *server) hostOf(r *http.Request) string {
	if host := s.settings.tls.publicHost(); host != "" {
		return host
	}
	return edge.OriginOf(r).Host
}

func (s *server) trustCA(w http.ResponseWriter, _ *http.Request) {
	ca := s.certs.CA()
	if ca == nil {
		plain(w, http.StatusNotFound, "This server's certificate is not signed by an authority of its own: it came from a file or from an ACME server. Ask its administrator which authority that is; clients that know it need nothing else.")
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="slipway-ca.crt"`)
	_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}) // the client is gone if this fails
}

func (s *server) trustScript(w http.ResponseWriter, r *http.Request) {
	ca := s.certs.CA()
	if ca == nil {
		s.trustCA(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/x-shellscript; charset=utf-8")
	_, _ = w.Write(trust.Script(s.hostOf(r), certs.Fingerprint(ca)))
}

func (s *server) trustPage(w http.ResponseWriter, r *http.Request) {
	host := s.hostOf(r)
	ca := s.certs.CA()
	if ca == nil {
		s.trustCA(w, r)
		return
	}
	plain(w, http.StatusOK, trustAdvice(host, certs.Fingerprint(ca)))
}

// trustState is the same for administrators, with who could not connect.
func (s *server) trustState(context.Context) (rest.Trust, error) {
	t := rest.Trust{Refusals: []rest.Refusal{}}
	host := s.settings.tls.publicHost()
	if host == "" {
		host = s.machineHost()
	}
	if ca := s.certs.CA(); ca != nil {
		fingerprint := certs.Fingerprint(ca)
		t.Fingerprint, t.ExpiresAt = &fingerprint, &ca.NotAfter
		t.Command = fmt.Sprintf("slipway trust %s --fingerprint %s", host, fingerprint)
	}
	if a, ok := s.certs.(*certs.Authority); ok {
		names := a.Names()
		t.Names = &names
	}
	for _, r := range s.refusals.List() {
		t.Refusals = append(t.Refusals, rest.Refusal{Address: r.Client.String(), Reason: string(r.Reason), Count: int64(r.Count), LastAt: r.Last})
	}
	return t, nil
}

// machineHost is where clients find the server if nobody said so.
func (s *server) machineHost() string {
	address := s.listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	name, err := os.Hostname()
	if err != nil {
		return address
	}
	return net.JoinHostPort(name, port)
}

// trustAdvice is what to run on a client. Where it came over an unverified
// connection it proves nothing: the fingerprint is to be compared.
func trustAdvice(host, fingerprint string) string {
	return fmt.Sprintf(`To use this registry, a machine has to trust its certificate authority, once.

With slipway there:
  slipway trust %s --fingerprint %s

Without, paste this line, but only from the server's own terminal or another
source that you trust, since it holds the hash that everything is checked by:
  %s

The authority alone: https://%s/trust/ca.crt`, host, fingerprint, trust.OneLine(host, fingerprint), host)
}

// announce says where the server is, and what its first users need to know.
func (s *server) announce(ctx context.Context) error {
	address := s.listener.Addr().String()
	scheme := "https://"
	if s.reach.loopback || s.reach.plain.Everywhere {
		scheme = "http://"
	}
	attributes := []any{"url", scheme + address, "data", s.settings.store.data, "version", slipwayVersion()}
	ca := s.certs.CA()
	if ca != nil {
		attributes = append(attributes, "ca", certs.Fingerprint(ca))
	}
	s.log.Info("serving", attributes...)
	if s.reach.loopback {
		return nil
	}
	host := s.settings.tls.publicHost()
	if host == "" {
		host = s.machineHost()
		s.log.Info("external-url is not set: printed commands take this machine's name, which clients may know otherwise", "name", host)
	}
	if s.reach.anonymous >= auth.AnonymousPush {
		s.log.Warn("everybody who reaches this server may push without a login: 'slipway secure' closes it without locking anybody out", "anonymous", s.settings.anonymous)
	} else {
		password, err := s.access.ensureAdmin(ctx)
		if err != nil {
			return fmt.Errorf("make the first user: %w", err)
		}
		if password != "" {
			_, _ = fmt.Fprintf(s.out, `
This is the first start: there is a user admin now. Its password is shown this once:

    %s

    docker login %s --username admin
    slipway user passwd admin --data %s      # another one, at any time, on this machine

`, password, host, s.settings.store.data)
		}
	}
	if ca != nil && !s.reach.plain.Everywhere {
		_, _ = fmt.Fprintf(s.out, "%s\n\n", trustAdvice(host, certs.Fingerprint(ca)))
	}
	return nil
}

// refuse answers a request to a page outside the APIs.
func (s *server) refuse(w http.ResponseWriter, _ *http.Request, err error) {
	var e *oci.Error
	if !errors.As(err, &e) {
		e = oci.NewError(oci.CodeUnknown, "the server failed; its log says why")
		s.log.Error("request failed", "err", err)
	}
	if e.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", token.BasicChallenge("Slipway"))
	}
	plain(w, e.Status(), e.Message)
}

// ownName refuses requests by a name that is not this server's, while it is
// open to everybody on this machine: a web page could have its own name point
// to 127.0.0.1, and its scripts would then speak for the machine's user.
func (s *server) ownName(next http.Handler) http.Handler {
	own := []string{"localhost"}
	if name, err := os.Hostname(); err == nil {
		own = append(own, strings.ToLower(name))
	}
	for _, host := range append(s.settings.build.hosts, s.settings.tls.publicHost()) {
		own = append(own, hostname(host))
	}
	for _, name := range s.settings.tls.names {
		own = append(own, strings.ToLower(name))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostname(edge.OriginOf(r).Host)
		if net.ParseIP(name) == nil && !slices.Contains(own, name) && !strings.HasSuffix(name, ".localhost") {
			plain(w, http.StatusMisdirectedRequest, fmt.Sprintf("This server is open to its own machine and does not know itself as %q. If that is its name, start it with --hosts %s, or --external-url.", name, edge.OriginOf(r).Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname is a host without its port, in lower case.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}
