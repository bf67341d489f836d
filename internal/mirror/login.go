package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"slipway/internal/oci"
)

// login answers a challenge and returns the Authorization that it came to.
// Credentials go to the upstream's own host or to one of TokenHosts, whatever
// the challenge says, and never over plain HTTP to an upstream with TLS.
func (u *upstream) login(ctx context.Context, path string, challenges []string, stall time.Duration) (string, error) {
	for _, c := range challenges {
		scheme, parameters := parseChallenge(c)
		switch strings.ToLower(scheme) {
		case "bearer":
			return u.fetchToken(ctx, path, parameters, stall)
		case "basic":
			if u.Username == "" {
				break
			}
			authorization := basic(u.Username, u.Password)
			u.tokens.put(path, authorization, 24*time.Hour)
			return authorization, nil
		}
	}
	return "", u.judge(&http.Response{StatusCode: http.StatusUnauthorized}, path)
}

func basic(username, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(username, password)
	return r.Header.Get("Authorization")
}

const maxTokenResponse = 1 << 20

func (u *upstream) fetchToken(ctx context.Context, path string, parameters map[string]string, stall time.Duration) (string, error) {
	realm, err := url.Parse(parameters["realm"])
	if err != nil || realm.Host == "" || realm.User != nil {
		return "", oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s asks for a token from %.200q, which is no address", u.Name, parameters["realm"]))
	}
	if realm.Scheme != u.url.Scheme && realm.Scheme != "https" {
		return "", oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s asks for a login over %s at %.200q: refused", u.Name, realm.Scheme, realm.Host))
	}
	if !u.realms[strings.ToLower(realm.Host)] {
		return "", oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s sends this registry to %.200q for a token, which it does not trust: if that is right, the administrator can add it to token-hosts of this upstream in mirror.upstreams", u.Name, realm.Host))
	}
	q := realm.Query()
	if s := parameters["service"]; s != "" {
		q.Set("service", s)
	}
	q.Set("scope", "repository:"+path+":pull") // ours, whatever the challenge asks for
	realm.RawQuery = q.Encode()
	authorization := ""
	if u.Username != "" {
		authorization = basic(u.Username, u.Password)
	}
	resp, err := u.send(ctx, http.MethodGet, realm, nil, authorization, stall)
	if err != nil {
		return "", err
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		if err := u.judge(resp, path); !oci.HasCode(err, oci.CodeManifestUnknown) && err != nil {
			return "", err
		}
		return "", oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s: %s answers with status %d instead of a token", u.Name, realm.Host, resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenResponse))
	if err != nil {
		return "", err
	}
	var t struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return "", badToken(u, realm, err)
	}
	if t.Token == "" {
		t.Token = t.AccessToken
	}
	if t.Token == "" || strings.ContainsAny(t.Token, "\r\n") {
		return "", badToken(u, realm, errors.New("it has no token"))
	}
	lifetime := time.Duration(min(max(t.ExpiresIn, 60), 3600)) * time.Second // 60 s is the specification's default
	u.tokens.put(path, "Bearer "+t.Token, lifetime*9/10)
	return "Bearer " + t.Token, nil
}

func badToken(u *upstream, realm *url.URL, err error) error {
	return oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s: the answer of %s is not that of a token server", u.Name, realm.Host)).WithCause(err)
}

// parseChallenge reads one WWW-Authenticate header: a scheme, and parameters
// by their names in lower case (RFC 9110, 11.6.1).
func parseChallenge(s string) (scheme string, parameters map[string]string) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	parameters = map[string]string{}
	for rest = strings.TrimLeft(rest, " ,"); rest != ""; rest = strings.TrimLeft(rest, " ,") {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var value strings.Builder
		if quoted, is := strings.CutPrefix(after, `"`); is {
			i := 0
			for ; i < len(quoted) && quoted[i] != '"'; i++ {
				if quoted[i] == '\\' && i+1 < len(quoted) {
					i++
				}
				value.WriteByte(quoted[i])
			}
			rest = quoted[min(i+1, len(quoted)):]
		} else {
			token, more, _ := strings.Cut(after, ",")
			value.WriteString(strings.TrimSpace(token))
			rest = more
		}
		if name = strings.ToLower(strings.TrimSpace(name)); parameters[name] == "" {
			parameters[name] = value.String()
		}
	}
	return scheme, parameters
}

// tokens remembers logins by repository. Those of one repository serve it
// alone, as their scope has it.
type tokens struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[string]token
}

type token struct {
	authorization string
	expires       time.Time
}

const maxTokens = 1000

func (t *tokens) get(path string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k, ok := t.m[path]; ok && t.now().Before(k.expires) {
		return k.authorization
	}
	return ""
}

func (t *tokens) put(path, authorization string, lifetime time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil || len(t.m) >= maxTokens {
		t.m = map[string]token{}
	}
	t.m[path] = token{authorization, t.now().Add(lifetime)}
}
