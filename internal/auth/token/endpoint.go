package token

import (
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/login"
	"slipway/internal/auth/policy"
	"slipway/internal/oci"
)

// EndpointConfig is what an Endpoint is made of. All but Realm and Canonical is
// required.
type EndpointConfig struct {
	Issuer   *Issuer
	Login    *login.Login
	Accounts *account.Accounts
	Policy   *policy.Policy
	Log      *slog.Logger
	// Realm names the registry where a browser asks for a password.
	Realm string
	// Canonical is the name under which a repository is decided on. Default:
	// the one that was asked for.
	Canonical func(repository string) (string, error)
}

// Endpoint answers GET and POST /token, as distribution's "Token
// Authentication" and "OAuth2 Token Authentication" specifications have it. A
// request for more than the policy allows gets a token for less.
type Endpoint struct{ EndpointConfig }

const maxForm = 64 << 10

// NewEndpoint makes an endpoint.
func NewEndpoint(c EndpointConfig) *Endpoint {
	if c.Realm == "" {
		c.Realm = "Slipway"
	}
	if c.Canonical == nil {
		c.Canonical = func(repository string) (string, error) { return repository, nil }
	}
	return &Endpoint{c}
}

// request is one of both kinds, after the login.
type request struct {
	identity auth.Identity
	scopes   []string
	offline  bool // a refresh token is wanted
	client   string
}

// answer is the body of a success. Clients read either of both tokens.
type answer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
}

// ServeHTTP implements http.Handler.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	var req request
	var err error
	switch r.Method {
	case http.MethodGet:
		req, err = e.get(r)
	case http.MethodPost:
		req, err = e.post(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		err = oci.NewError(oci.CodeUnsupported, r.Method+" is not possible here; this address takes GET and POST")
	}
	var a answer
	if err == nil {
		a, err = e.issue(r, req)
	}
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.write(w, http.StatusOK, a)
}

func (e *Endpoint) get(r *http.Request) (request, error) {
	q := r.URL.Query()
	if err := e.checkService(q["service"]); err != nil {
		return request{}, err
	}
	i, err := e.Login.Request(r)
	offline := q.Get("offline_token") == "true"
	return request{identity: i, scopes: q["scope"], offline: offline, client: q.Get("client_id")}, err
}

func (e *Endpoint) post(w http.ResponseWriter, r *http.Request) (request, error) {
	// A form and nothing else: what a script of another site can send without
	// being asked is a form, too, but it learns nothing from the answer.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return request{}, &grantError{http.StatusBadRequest, "invalid_request", "send a form: Content-Type application/x-www-form-urlencoded"}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return request{}, &grantError{http.StatusBadRequest, "invalid_request", "the form cannot be read, or has more than " + strconv.Itoa(maxForm) + " bytes"}
	}
	f := r.PostForm
	if err := e.checkService(f["service"]); err != nil {
		return request{}, err
	}
	req := request{scopes: f["scope"], offline: f.Get("access_type") == "offline", client: f.Get("client_id")}
	var err error
	switch grant := f.Get("grant_type"); grant {
	case "password":
		c := login.Credentials{Scheme: login.Basic, User: f.Get("username"), Secret: f.Get("password")}
		req.identity, err = e.Login.Authenticate(r.Context(), c, e.Login.Address(r))
	case "refresh_token":
		// The client keeps the one that it has.
		req.offline = false
		req.identity, err = e.Accounts.Refresh(r.Context(), f.Get("refresh_token"), e.Issuer.Service)
		req.identity.Address = e.Login.Address(r)
		if errors.Is(err, account.ErrRefused) {
			e.Login.Failed(login.Attempt{Address: req.identity.Address, Reason: "the refresh token is not valid"})
			err = oci.NewError(oci.CodeUnauthorized, "the refresh token is not valid any more: log in again").WithCause(err)
		}
	default:
		err = &grantError{http.StatusBadRequest, "unsupported_grant_type", "grant_type must be password or refresh_token"}
	}
	return req, err
}

// checkService refuses a request that was meant for another service, whose
// tokens would be of no use here.
func (e *Endpoint) checkService(values []string) error {
	for _, s := range values {
		if s != "" && s != e.Issuer.Service {
			return &grantError{http.StatusBadRequest, "invalid_request", "service must be " + strconv.Quote(e.Issuer.Service) + ", as the challenge says"}
		}
	}
	return nil
}

func (e *Endpoint) issue(r *http.Request, req request) (answer, error) {
	ctx, i := r.Context(), req.identity
	// Who may do nothing without a login is told so now, and not by a
	// repository that seems to be missing.
	if i.IsAnonymous() && !e.Policy.Anything(ctx, i) {
		return answer{}, oci.NewError(oci.CodeUnauthorized, "nothing here is open to everybody: log in, such as with docker login")
	}
	t, err := e.Issuer.Issue(i, e.canonical(ParseResources(req.scopes)), func(a auth.Action, repository string) bool {
		return e.Policy.Decide(ctx, i, a, repository).Allowed
	})
	if err != nil {
		return answer{}, err
	}
	a := answer{Token: t.Value, AccessToken: t.Value, ExpiresIn: int(Life / time.Second), IssuedAt: t.Issued.UTC().Format(time.RFC3339)}
	scopes := make([]string, len(t.Granted))
	for n, s := range t.Granted {
		scopes[n] = s.String()
	}
	a.Scope = strings.Join(scopes, " ")
	if req.offline && (i.Kind == auth.KindUser || i.Kind == auth.KindRobot) {
		secret, err := e.Accounts.IssueRefresh(ctx, i, e.Issuer.Service, req.client)
		if err != nil {
			return answer{}, err
		}
		a.RefreshToken = secret.Reveal()
	}
	return a, nil
}

func (e *Endpoint) canonical(list []Resource) (kept []Resource) {
	for _, r := range list {
		if r.Type == typeRepository {
			name, err := e.Canonical(r.Name)
			if err != nil {
				continue
			}
			r.Name = name
		}
		kept = append(kept, r)
	}
	return kept
}

// grantError is an error of RFC 6749, section 5.2.
type grantError struct {
	status            int
	code, description string
}

func (e *grantError) Error() string { return e.code + ": " + e.description }

// failure is both forms of an error: that of the registry, which docker shows,
// and that of RFC 6749.
type failure struct {
	Errors      []*oci.Error `json:"errors"`
	Code        string       `json:"error"`
	Description string       `json:"error_description"`
}

func (e *Endpoint) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *oci.Error
	var grant *grantError
	f := failure{Code: "invalid_grant"}
	var status int
	switch {
	case errors.As(err, &grant):
		known = oci.NewError(oci.CodeUnsupported, grant.description)
		f.Code, status = grant.code, grant.status
	case errors.As(err, &known):
		status = known.Status()
	case errors.Is(err, account.ErrRefused):
		known = oci.NewError(oci.CodeUnauthorized, "the login ended just now: log in again").WithCause(err)
		status = known.Status()
	default:
		known = oci.NewError(oci.CodeUnknown, "the registry failed; its log says why").WithCause(err)
		status = http.StatusInternalServerError
	}
	switch {
	case status >= http.StatusInternalServerError:
		f.Code = "server_error"
		e.Log.Error("no access token can be issued", "status", status, "err", err)
	case status == http.StatusUnauthorized && r.Method == http.MethodGet:
		w.Header().Set("WWW-Authenticate", BasicChallenge(e.Realm))
	}
	if wait, ok := known.Detail.(map[string]int64); ok && status == http.StatusTooManyRequests {
		f.Code = "slow_down"
		w.Header().Set("Retry-After", strconv.FormatInt(wait["retryAfter"], 10))
	}
	f.Errors, f.Description = []*oci.Error{known}, known.Message
	e.write(w, status, f)
}

func (e *Endpoint) write(w http.ResponseWriter, status int, body any) {
	content, err := json.Marshal(body)
	if err != nil {
		e.Log.Error("an answer of the token endpoint has no JSON form", "err", err)
		status, content = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(content) // the client is gone if this fails
}
