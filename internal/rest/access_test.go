package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"slipway/api"
	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/login"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
	"slipway/internal/rest"
)

// world is a server with accounts, whose callers log in with real tokens:
// root and second are administrators, anna and bert are not, ci is a robot, and
// fred is in the htpasswd file.
type world struct {
	*httptest.Server
	t        *testing.T
	store    *registrytest.Store
	accounts *account.Accounts
	policy   *policy.Policy
	refused  *[]audit.Entry
	tokens   map[string]account.Secret // by who shows them
	ids      map[string]int64
}

const rootPassword = "correct horse battery"

func newWorld(t *testing.T) *world {
	t.Helper()
	store := registrytest.Open(t, registry.Config{}, nil)
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(htpasswd, []byte("fred:$2y$05$WNDhBfVgWBRMHzHmHPSU5.4rOANTr1BP8n9K5Ww2vkRvGZzqYKMpm\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	accounts, err := account.New(account.Config{DB: store.DB, Htpasswd: htpasswd})
	if err != nil {
		t.Fatal(err)
	}
	logins, err := login.New(login.Config{Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, accounts: accounts, refused: new([]audit.Entry), tokens: map[string]account.Secret{}, ids: map[string]int64{}}
	w.policy = policy.New(policy.Config{DB: store.DB, Accounts: accounts.Any})
	type key struct{}
	caller := func(r *http.Request) auth.Identity { return r.Context().Value(key{}).(auth.Identity) }
	handler := rest.New(rest.Config{
		DB: store.DB, Registry: store.Registry, Collector: gc.New(gc.Config{DB: store.DB, Blobs: store.Files}), Log: slog.New(slog.DiscardHandler),
		Authorize: func(r *http.Request, a auth.Action, repository string) error {
			return w.policy.Decide(r.Context(), caller(r), a, repository).Err()
		},
		Access: &rest.Access{
			Accounts: accounts, Policy: w.policy, Caller: caller,
			Refused: func(e audit.Entry) { *w.refused = append(*w.refused, e) },
			Trust:   func(context.Context) (rest.Trust, error) { return rest.Trust{Command: "slipway trust localhost"}, nil },
		},
	})
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		i, err := logins.Request(r)
		if err != nil {
			rest.WriteError(rw, r, slog.New(slog.DiscardHandler), err)
			return
		}
		handler.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), key{}, i)))
	}))
	t.Cleanup(w.Close)
	w.people()
	return w
}

func (w *world) people() {
	w.t.Helper()
	hash, err := account.HashPassword(rootPassword)
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(func(tx *db.Tx) error {
		for _, u := range []account.NewUser{
			{Name: "root", Hash: hash, Groups: []string{auth.GroupAdmins}}, {Name: "second", Groups: []string{auth.GroupAdmins}}, {Name: "anna", Groups: []string{"dev"}}, {Name: "bert"},
		} {
			if err := account.CreateUser(tx, u); err != nil {
				return err
			}
		}
		for _, r := range []string{"ci", "spare"} {
			if err := account.CreateRobot(tx, r, ""); err != nil {
				return err
			}
		}
		rule, err := policy.ParseRule("authenticated", "pull", "team/**")
		if err != nil {
			return err
		}
		if rule, err = policy.AddRule(tx, rule); err != nil {
			return err
		}
		w.ids["rule"] = rule.ID
		tag, err := policy.ParseTagRule("protected", "team/**", "v*")
		if err != nil {
			return err
		}
		tag, err = policy.AddTagRule(tx, tag)
		w.ids["tag rule"] = tag.ID
		return err
	})
	w.token("root", auth.KindUser, "root", 0)
	w.token("limited root", auth.KindUser, "root", 0, "pull")
	w.token("anna", auth.KindUser, "anna", 0)
	w.token("limited anna", auth.KindUser, "anna", 0, "pull:team/**")
	w.token("ci", auth.KindRobot, "ci", 0)
	w.token("anna's other", auth.KindUser, "anna", 0)
	w.token("anna's third", auth.KindUser, "anna", 0)
}

func (w *world) do(fn func(*db.Tx) error) {
	w.t.Helper()
	if err := w.store.DB.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) token(name string, kind auth.Kind, owner string, expires int64, scopes ...string) {
	w.t.Helper()
	parsed, err := auth.ParseScopes(scopes)
	if err != nil {
		w.t.Fatal(err)
	}
	secret := account.NewSecret(account.PrefixFor(kind))
	w.do(func(tx *db.Tx) error {
		t, err := account.CreateToken(tx, account.NewToken{OwnerKind: kind, Owner: owner, Name: name, Scopes: parsed, Expires: expires, CreatedBy: "test", Secret: secret})
		w.tokens[name], w.ids[name] = secret, t.ID
		return err
	})
}

// call makes a request as one of those who have a token, or without a login.
func (w *world) call(who, method, path, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "/builds") {
		req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	}
	if secret, ok := w.tokens[who]; ok {
		req.SetBasicAuth("token", secret.Reveal())
	} else if who != "anonymous" {
		w.t.Fatalf("%s has no token", who)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if (resp.StatusCode == http.StatusUnauthorized) != (resp.Header.Get("WWW-Authenticate") != "") {
		w.t.Errorf("%s %s %s: %s with WWW-Authenticate %q", who, method, path, resp.Status, resp.Header.Get("WWW-Authenticate"))
	}
	return resp.StatusCode, string(b)
}

// want is call with an expectation.
func (w *world) want(status int, who, method, path, body string) string {
	w.t.Helper()
	got, answer := w.call(who, method, path, body)
	if got != status {
		w.t.Errorf("%s %s %s %s: %d %s, want %d", who, method, path, body, got, answer, status)
	}
	return answer
}

func (w *world) entries() (list []audit.Entry) {
	w.t.Helper()
	list, err := audit.List(w.store.DB.Read(w.t.Context()), audit.Filter{Forward: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// Those who call, in the order of the columns below.
var callers = []string{"root", "limited root", "anna", "limited anna", "ci", "anonymous"}

// Every operation of the API for every kind of caller, in the order in which
// they are made. ID(x) stands for the id of what has that name. Several rows of
// an operation are what is another's, and what is one's own.
var matrix = []struct {
	operation, method, path, body string
	status                        [6]int
}{
	{"whoAmI", "GET", "/whoami", "", [6]int{200, 200, 200, 200, 200, 200}},
	{"listUsers", "GET", "/users", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"createUser", "POST", "/users", `{"name":"new"}`, [6]int{201, 403, 403, 403, 403, 401}},
	{"updateUser", "PATCH", "/users/bert", `{"groups":["dev"]}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"updateUser", "PATCH", "/users/bert", `{"password":"long enough"}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"updateUser", "PATCH", "/users/anna", `{"password":"long enough"}`, [6]int{200, 403, 403, 403, 403, 401}}, // anna shows a token here
	{"updateUser", "PATCH", "/users/anna", `{"password":"long enough","groups":["admins"]}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"updateUser", "PATCH", "/users/anna", `{"disabled":false}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"deleteUser", "DELETE", "/users/bert", "", [6]int{204, 403, 403, 403, 403, 401}},
	{"listRobots", "GET", "/robots", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"createRobot", "POST", "/robots", `{"name":"new"}`, [6]int{201, 403, 403, 403, 403, 401}},
	{"updateRobot", "PATCH", "/robots/spare", `{"disabled":true}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"deleteRobot", "DELETE", "/robots/spare", "", [6]int{204, 403, 403, 403, 403, 401}},
	{"listTokens", "GET", "/tokens?owner=user:anna", "", [6]int{200, 403, 200, 403, 403, 401}},
	{"listTokens", "GET", "/tokens?owner=robot:ci", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"listTokens", "GET", "/tokens", "", [6]int{200, 403, 200, 403, 403, 401}},
	{"createToken", "POST", "/tokens", `{"name":"new","owner":"robot:ci"}`, [6]int{201, 403, 403, 403, 403, 401}},
	{"createToken", "POST", "/tokens", `{"name":"new","owner":"user:second"}`, [6]int{201, 403, 403, 403, 403, 401}},
	{"createToken", "POST", "/tokens", `{"name":"own"}`, [6]int{201, 403, 201, 403, 403, 401}},
	{"revokeToken", "DELETE", "/tokens/ID(anna's other)", "", [6]int{204, 403, 204, 403, 403, 401}},
	{"revokeToken", "DELETE", "/tokens/99", "", [6]int{404, 403, 403, 403, 403, 401}},
	{"listRules", "GET", "/rules", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"createRule", "POST", "/rules", `{"subject":"user:anna","repositories":"x","actions":["pull"]}`, [6]int{201, 403, 403, 403, 403, 401}},
	{"deleteRule", "DELETE", "/rules/ID(rule)", "", [6]int{204, 403, 403, 403, 403, 401}},
	{"listTagRules", "GET", "/tag-rules", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"createTagRule", "POST", "/tag-rules", `{"kind":"immutable","repositories":"x","tags":"*"}`, [6]int{201, 403, 403, 403, 403, 401}},
	{"deleteTagRule", "DELETE", "/tag-rules/ID(tag rule)", "", [6]int{204, 403, 403, 403, 403, 401}},
	{"checkPolicy", "GET", "/policy/check?subject=user:anna&action=pull", "", [6]int{200, 403, 200, 200, 403, 401}},
	{"checkPolicy", "GET", "/policy/check?subject=robot:ci&action=pull", "", [6]int{200, 403, 403, 403, 200, 401}},
	{"checkPolicy", "GET", "/policy/check?subject=anonymous&action=pull", "", [6]int{200, 403, 403, 403, 403, 200}},
	{"listAudit", "GET", "/audit", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"getTrust", "GET", "/trust", "", [6]int{200, 403, 403, 403, 403, 401}},

	{"runCollection", "POST", "/gc", `{"dry_run":true}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"getCollection", "GET", "/gc", "", [6]int{404, 403, 403, 403, 403, 401}},
	{"listQuotas", "GET", "/quotas", "", [6]int{200, 403, 403, 403, 403, 401}},
	{"getRepository", "GET", "/repositories/team%2Fapp", "", [6]int{200, 200, 200, 200, 200, 401}},
	{"getRepository", "GET", "/repositories/other", "", [6]int{404, 404, 403, 403, 403, 401}},
	{"updateRepository", "PATCH", "/repositories/team%2Fapp", `{"delete_untagged":true}`, [6]int{200, 403, 403, 403, 403, 401}},
	{"restoreManifest", "POST", "/repositories/team%2Fapp/restore", `{"digest":"sha256:x"}`, [6]int{400, 403, 403, 403, 403, 401}},
	{"deleteRepository", "DELETE", "/repositories/team%2Fapp", "", [6]int{204, 403, 403, 403, 403, 401}},
	{"runBuild", "POST", "/builds", "--x--\r\n", [6]int{405, 403, 403, 403, 403, 401}}, // it does not build here
	{"listRuns", "GET", "/projects/p/runs", "", [6]int{405, 405, 403, 403, 403, 401}},
	{"getRun", "GET", "/projects/p/runs/1", "", [6]int{405, 405, 403, 403, 403, 401}},
	{"getRunFile", "GET", "/projects/p/runs/1/files/log", "", [6]int{405, 405, 403, 403, 403, 401}},

	{"revokeToken", "DELETE", "/tokens/ID(ci)", "", [6]int{204, 403, 403, 403, 204, 401}},
}

func TestWhoMayWhat(t *testing.T) {
	for i, who := range callers {
		t.Run(who, func(t *testing.T) {
			w := newWorld(t)
			w.store.PutImage("team/app", "1", []byte("layer"))
			for _, row := range matrix {
				path := row.path
				if before, name, ok := strings.Cut(path, "ID("); ok {
					id, known := w.ids[strings.TrimSuffix(name, ")")]
					if !known {
						t.Fatalf("%s has no id", name)
					}
					path = before + strconv.FormatInt(id, 10)
				}
				before := len(w.entries())
				w.want(row.status[i], who, row.method, "/api/v1"+path, row.body)
				written := len(w.entries()) > before
				if change := row.status[i] < 300 && row.method != "GET" && row.operation != "runCollection"; written != change {
					t.Errorf("%s %s: entries in the audit log: %v, want %v", row.method, path, written, change)
				}
			}
		})
	}
}

// A new operation without a row is not tested for who may use it.
func TestMatrixIsWhole(t *testing.T) {
	var document struct{ Paths map[string]map[string]any }
	if err := yaml.Unmarshal(api.Document, &document); err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	for _, row := range matrix {
		tested[row.operation] = true
	}
	found := 0
	for _, methods := range document.Paths {
		for _, m := range methods {
			operation, ok := m.(map[string]any) // parameters are a list
			if !ok {
				continue
			}
			found++
			if id, _ := operation["operationId"].(string); !tested[id] {
				t.Errorf("operation %q has no row", id)
			}
		}
	}
	if found != len(tested) {
		t.Errorf("%d operations are in the document, and %d in the table", found, len(tested))
	}
}

func TestLastAdministratorStays(t *testing.T) {
	w := newWorld(t)
	w.want(200, "root", "PATCH", "/api/v1/users/second", `{"disabled":true}`)
	before := len(w.entries())
	for _, try := range []struct{ method, body string }{
		{"PATCH", `{"disabled":true}`}, {"PATCH", `{"groups":[]}`}, {"PATCH", `{"groups":["dev"],"password":"another one"}`}, {"DELETE", ""},
	} {
		if answer := w.want(409, "root", try.method, "/api/v1/users/root", try.body); !strings.Contains(answer, "last enabled user in group admins") {
			t.Errorf("%s %s: %s", try.method, try.body, answer)
		}
	}
	if len(w.entries()) != before {
		t.Error("a refused change is in the audit log as one that was made")
	}
	if hash, ok, err := w.accounts.Password(t.Context(), "root"); err != nil || !ok || hash == "" {
		t.Errorf("root after refused changes: %v %v", ok, err)
	}
	w.want(200, "root", "PATCH", "/api/v1/users/root", `{"groups":["admins","dev"]}`)
	w.want(200, "root", "PATCH", "/api/v1/users/second", `{"disabled":false}`)
	w.want(200, "root", "PATCH", "/api/v1/users/root", `{"groups":[]}`)
	w.want(403, "root", "PATCH", "/api/v1/users/root", `{"groups":["admins"]}`)
}

func TestTokenMakesNoStrongerToken(t *testing.T) {
	w := newWorld(t)
	hour := time.Now().Add(time.Hour)
	w.token("keeper", auth.KindUser, "root", hour.UnixMilli(), "admin", "pull,push:team/**")
	w.token("hourly", auth.KindUser, "anna", hour.UnixMilli())
	rfc := func(t time.Time) string { return `"` + t.UTC().Format(time.RFC3339) + `"` }
	for _, c := range []struct {
		who, body string
		status    int
	}{
		{"keeper", `{"name":"a","owner":"robot:ci"}`, 403},
		{"keeper", `{"name":"b","owner":"robot:ci","scopes":["pull"]}`, 403},
		{"keeper", `{"name":"c","owner":"robot:ci","scopes":["pull:team/app","delete:team/app"]}`, 403},
		{"keeper", `{"name":"d","owner":"robot:ci","scopes":["*:team/app"]}`, 403},
		{"keeper", `{"name":"e","owner":"robot:ci","scopes":["pull:**/app"]}`, 403},
		{"keeper", `{"name":"f","owner":"robot:ci","scopes":["pull:team/app","push:team/x/**","pull:team/*"]}`, 201},
		{"keeper", `{"name":"g","owner":"robot:ci","scopes":["admin"]}`, 201},
		{"hourly", `{"name":"h"}`, 403},
		{"hourly", `{"name":"i","expires_at":` + rfc(hour.Add(time.Hour)) + `}`, 403},
		{"hourly", `{"name":"j","expires_at":` + rfc(hour.Add(-time.Minute)) + `}`, 201},
	} {
		before := len(*w.refused)
		w.want(c.status, c.who, "POST", "/api/v1/tokens", c.body)
		if told := len(*w.refused) > before; told != (c.status == 403) {
			t.Errorf("%s: a refusal for the audit log: %v", c.body, told)
		}
	}
}

// Who logged in with the password may change it, and nothing else; see the
// matrix for tokens.
func TestOwnPassword(t *testing.T) {
	w := newWorld(t)
	w.want(200, "root", "PATCH", "/api/v1/users/anna", `{"password":"first password"}`)
	try := func(password, path, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "PATCH", w.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth("anna", password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		password, path, body string
		status               int
	}{
		{"first password", "/api/v1/users/bert", `{"password":"second password"}`, 403},
		{"first password", "/api/v1/users/anna", `{"password":"second password","groups":["admins"]}`, 403},
		{"first password", "/api/v1/users/anna", `{"groups":[]}`, 403},
		{"first password", "/api/v1/users/anna", `{"password":"short"}`, 400},
		{"first password", "/api/v1/users/anna", `{"password":"second password"}`, 200},
		{"first password", "/api/v1/users/anna", `{"password":"third password"}`, 401},
		{"second password", "/api/v1/users/anna", `{"password":"third password"}`, 200},
	} {
		if got := try(c.password, c.path, c.body); got != c.status {
			t.Errorf("with the %s, %s %s: %d, want %d", c.password, c.path, c.body, got, c.status)
		}
	}
}

// What is made is what is listed, and no secret is seen twice.
func TestAccountsAsMade(t *testing.T) {
	w := newWorld(t)
	const password = "a password of mine"
	answers := []string{
		w.want(201, "root", "POST", "/api/v1/users", `{"name":"carl","password":"`+password+`","groups":["ops","dev","dev"]}`),
		w.want(200, "root", "PATCH", "/api/v1/users/carl", `{"password":"`+password+`2"}`),
		w.want(200, "root", "GET", "/api/v1/users", ""),
	}
	var users rest.Users
	if err := json.Unmarshal([]byte(answers[2]), &users); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(users.Users, func(u rest.User) bool { return u.Name == "carl" })
	if len(users.Users) != 5 || i < 0 || !users.Users[i].Password || strings.Join(users.Users[i].Groups, ",") != "dev,ops" {
		t.Errorf("users: %+v", users)
	}
	made := w.want(201, "root", "POST", "/api/v1/tokens", `{"owner":"robot:ci","name":"runner","scopes":["push,pull:team/**"]}`)
	var created rest.CreatedToken
	if err := json.Unmarshal([]byte(made), &created); err != nil || created.Token.Owner != "robot:ci" || created.Token.CreatedBy != "user:root" || strings.Join(created.Token.Scopes, " ") != "pull,push:team/**" {
		t.Fatalf("created: %s, %v", made, err)
	}
	list := w.want(200, "root", "GET", "/api/v1/tokens?owner=robot:ci", "")
	log := w.want(200, "root", "GET", "/api/v1/audit", "")
	for _, text := range append(answers, list, log) {
		if strings.Contains(text, password) || strings.Contains(text, created.Secret) || strings.Contains(text, "$2") || strings.Contains(text, "null") {
			t.Errorf("a secret, a hash or null: %s", text)
		}
	}
	var entries rest.Audit
	if err := json.Unmarshal([]byte(log), &entries); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, e := range entries.Entries {
		said = append(said, e.Action)
		if e.Actor != "user:root" || e.Address != "127.0.0.1" || e.Outcome != "allowed" || e.Times != 1 {
			t.Errorf("entry: %+v", e)
		}
	}
	if got := strings.Join(said, " "); got != "token.create user.password user.create" {
		t.Errorf("entries: %s", got)
	}
	if me := w.want(200, "limited anna", "GET", "/api/v1/whoami", ""); !strings.Contains(me, `"actor":"user:anna"`) || !strings.Contains(me, `"scopes":["pull:team/**"]`) || !strings.Contains(me, `"admin":false`) {
		t.Errorf("whoami: %s", me)
	}
}

func TestAccessMistakes(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/users", `{"name":"Anna"}`, 409, "anna already"},
		{"POST", "/users", `{"name":"-"}`, 400, "letters, digits"},
		{"POST", "/users", `{"name":"x","password":"short"}`, 400, "use 8 to 72"},
		{"POST", "/users", `{"name":"x","groups":["a b"]}`, 400, "visible ASCII"},
		{"POST", "/users", `{"name":"x","admin":true}`, 400, "admin"},
		{"PATCH", "/users/nobody", `{"disabled":true}`, 404, "nobody"},
		{"PATCH", "/users/fred", `{"password":"long enough"}`, 409, "htpasswd"},
		{"DELETE", "/users/fred", ``, 409, "htpasswd"},
		{"DELETE", "/users/nobody", ``, 404, "nobody"},
		{"POST", "/robots", `{"name":"CI"}`, 409, "ci already"},
		{"PATCH", "/robots/nobody", `{"disabled":true}`, 404, "nobody"},
		{"DELETE", "/robots/nobody", ``, 404, "nobody"},
		{"GET", "/tokens?owner=user:nobody", ``, 404, "nobody"},
		{"GET", "/tokens?owner=anonymous", ``, 400, "user:NAME"},
		{"POST", "/tokens", `{"name":"x","owner":"robot:nobody"}`, 404, "nobody"},
		{"POST", "/tokens", `{"name":"x","owner":"everybody"}`, 400, "everybody"},
		{"POST", "/tokens", `{"name":""}`, 400, "needs a name"},
		{"POST", "/tokens", `{"name":"x","scopes":["read:**"]}`, 400, "pull, push"},
		{"POST", "/tokens", `{"name":"x","scopes":["pull:a//b"]}`, 400, "empty part"},
		{"POST", "/tokens", `{"name":"x","expires_at":"2001-01-01T00:00:00Z"}`, 400, "expired"},
		{"POST", "/tokens", `{"name":"root"}`, 409, "revoke it first"},
		{"DELETE", "/tokens/99", ``, 404, "token 99"},
		{"DELETE", "/tokens/x", ``, 400, "id"},
		{"POST", "/rules", `{"subject":"anna","repositories":"**","actions":["pull"]}`, 400, "user:NAME"},
		{"POST", "/rules", `{"subject":"user:anna","repositories":"A","actions":["pull"]}`, 400, "lower-case"},
		{"POST", "/rules", `{"subject":"user:anna","repositories":"**","actions":[]}`, 400, "pull"},
		{"POST", "/rules", `{"subject":"network:10.0.0.0/8","repositories":"**","actions":["push"]}`, 400, "must have an end"},
		{"DELETE", "/rules/99", ``, 404, "rule 99"},
		{"POST", "/tag-rules", `{"kind":"fixed","repositories":"**","tags":"*"}`, 400, "immutable"},
		{"POST", "/tag-rules", `{"kind":"immutable","repositories":"**","tags":"*","movers":["user:anna"]}`, 400, "movers"},
		{"DELETE", "/tag-rules/99", ``, 404, "tag rule 99"},
		{"GET", "/policy/check?subject=user:anna", ``, 400, "action"},
		{"GET", "/policy/check?subject=user:anna&action=fly", ``, 400, "fly"},
		{"GET", "/policy/check?subject=someone&action=pull", ``, 400, "user:NAME"},
		{"GET", "/policy/check?subject=user:anna&action=pull&repository=../x", ``, 400, "not valid"},
		{"GET", "/audit?outcome=maybe", ``, 400, "refused"},
		{"GET", "/audit?since=yesterday", ``, 400, "since"},
	} {
		status, answer := w.call("root", c.method, "/api/v1"+c.path, c.body)
		var p rest.Problem
		if err := json.Unmarshal([]byte(answer), &p); err != nil || p.Status != status || status != c.status || !strings.Contains(p.Title, c.says) || strings.HasSuffix(p.Title, "not valid") && c.says != "not valid" {
			t.Errorf("%s %s %s: %d %s, want %d with %q", c.method, c.path, c.body, status, answer, c.status, c.says)
		}
	}
	if list := w.entries(); len(list) != 0 {
		t.Errorf("mistakes changed something: %v", list)
	}
}

func TestPolicyCheck(t *testing.T) {
	w := newWorld(t)
	w.want(201, "root", "POST", "/api/v1/rules", `{"subject":"group:dev","repositories":"team/**","actions":["push"],"note":"n"}`)
	w.want(201, "root", "POST", "/api/v1/rules", `{"subject":"workload:issuer=github,repository=org/app","repositories":"ci/*","actions":["push"]}`)
	w.want(201, "root", "POST", "/api/v1/rules", `{"subject":"network:10.1.0.0/16","repositories":"old/**","actions":["push"],"expires_at":"2199-01-01T00:00:00Z"}`)
	w.want(200, "root", "PATCH", "/api/v1/users/bert", `{"disabled":true}`)
	for _, c := range []struct {
		who, query string
		allowed    bool
		says       string
	}{
		{"root", "subject=user:anna&action=push&repository=team/app", true, "group:dev may push in team/**"},
		{"root", "subject=user:anna&action=push&repository=other", false, "no rule"},
		{"root", "subject=user:second&action=admin", true, "group admins"},
		{"root", "subject=user:bert&action=pull&repository=team/app", false, "gone or disabled"},
		{"root", "subject=user:nobody&action=pull&repository=team/app", false, "gone or disabled"},
		{"root", "subject=robot:ci&action=pull&repository=team/app", true, "authenticated may pull"},
		{"root", "subject=anonymous&action=pull&repository=team/app", false, "anonymous"},
		{"root", "subject=anyone&action=pull&repository=team/app", false, "anonymous"},
		{"root", "subject=authenticated&action=pull&repository=team/app", true, "authenticated"},
		{"root", "subject=group:dev&action=push&repository=team/app", true, "group:dev"},
		{"root", "subject=group:ops&action=push&repository=team/app", false, "anybody in ops"},
		{"root", "subject=workload:issuer=github,repository=org/app,ref=main&action=push&repository=ci/x", true, "workload:issuer=github,repository=org/app"},
		{"root", "subject=workload:issuer=github,repository=org/other&action=push&repository=ci/x", false, "no rule"},
		{"root", "subject=network:10.1.2.3&action=push&repository=old/x", true, "network:10.1.0.0/16"},
		{"root", "subject=network:10.2.2.3&action=push&repository=old/x", false, "no rule"},
		{"limited anna", "subject=user:anna&action=push&repository=team/app", false, "scopes of the token"},
		{"anna", "subject=user:anna&action=push&repository=team/app", true, "group:dev"},
	} {
		var d rest.Decision
		answer := w.want(200, c.who, "GET", "/api/v1/policy/check?"+c.query, "")
		if err := json.Unmarshal([]byte(answer), &d); err != nil || d.Allowed != c.allowed || !strings.Contains(d.Why, c.says) || d.Grace != strings.Contains(c.query, "10.1.2.3") {
			t.Errorf("%s: %s, want %v with %q", c.query, answer, c.allowed, c.says)
		}
	}
}

func TestAuditPages(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		w.want(201, "root", "POST", "/api/v1/robots", `{"name":"`+name+`"}`)
	}
	w.do(func(tx *db.Tx) error {
		return audit.Append(tx, audit.Entry{Actor: "user:anna", Address: "10.0.0.1", Action: "push", Repository: "team/app", Outcome: audit.Refused, Reason: "no rule"})
	})
	last := w.entries()[4]
	for query, want := range map[string]string{
		"":                                "5 4 3 2 1",
		"?n=2":                            "5 4",
		"?n=2&before=4":                   "3 2",
		"?after=3":                        "4 5",
		"?after=0&n=2":                    "1 2",
		"?after=5":                        "",
		"?actor=user:anna":                "5",
		"?outcome=refused":                "5",
		"?outcome=allowed&n=1":            "4",
		"?repository=team/app":            "5",
		"?action=robot.create&n=1":        "4",
		"?address=10.0.0.1":               "5",
		"?since=2199-01-01T00:00:00Z":     "",
		"?since=2001-01-01T00:00:00Z&n=1": "5",
	} {
		var page rest.Audit
		answer := w.want(200, "root", "GET", "/api/v1/audit"+query, "")
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range page.Entries {
			b, _ := json.Marshal(e.Id - last.ID + 5)
			ids = append(ids, string(b))
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("audit%s: %s, want %s", query, got, want)
		}
	}
}

func TestServerWithoutAccounts(t *testing.T) {
	_, srv := start(t, auth.AnonymousAdmin)
	for _, path := range []string{"whoami", "users", "rules", "audit", "trust", "policy/check?subject=anonymous&action=pull"} {
		if status, body, _ := call(t, srv, "GET", "/api/v1/"+path, ""); status != 404 || !strings.Contains(body, "keeps no accounts") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
