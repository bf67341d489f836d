// Package account keeps who there is: users with a password, robots, and the
// secrets that both of them may show in place of one.
//
// Three things can be shown. A password, kept as bcrypt, since people choose
// them. A token, of a user (personal) or a robot: 256 random bits, kept as
// SHA-256, since nothing slower protects what cannot be guessed; it may have
// limits, an end, and is revoked on its own. A refresh token, which clients get
// in exchange for one of the two and keep in its place; it is bound to a
// service and dies with what it was got with.
//
// Changes are functions that take the transaction they run in, so that a caller
// can write them into the audit log in the same one. They move the generation
// (auth.Touch). Reading for a login goes through Accounts, which keeps what it
// read until the generation moves, and joins in the users of an htpasswd file.
// A user of the database hides one of the file that has the same name.
package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	lru "github.com/hashicorp/golang-lru/v2"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// What callers branch on. The errors that wrap these say what to do.
var (
	ErrNotFound = errors.New("there is no such account or token")
	ErrExists   = errors.New("the name is taken")
	ErrInvalid  = errors.New("not valid")
	// ErrRefused is the answer to a secret that is unknown, revoked, expired,
	// or of an account that is disabled.
	ErrRefused = errors.New("the login is refused")
)

// Config of New. DB is required.
type Config struct {
	DB  *db.DB
	Log *slog.Logger // default: discards
	// Generation may be shared with package policy. Default: one of its own.
	Generation *auth.Generation
	// Htpasswd is the path of a file with users; "" for none.
	Htpasswd string
}

// Accounts answers who an account is now. Safe for concurrent use.
type Accounts struct {
	db         *db.DB
	log        *slog.Logger
	generation *auth.Generation
	file       *htpasswd // nil: none
	states     *lru.Cache[key, state]
	uses       *uses
}

// key is an account, and perhaps one of its tokens.
type key struct {
	kind       auth.Kind
	name       string
	credential int64
}

// state is what the database said of a key.
type state struct {
	generation int64
	found      bool
	hash       string
	groups     []string
	disabled   bool
	token      Token // where credential is not 0
}

const statesKept = 8192

// New reads the htpasswd file, if there is to be one. A file that cannot be
// read is an error now and means "no users in it" later.
func New(c Config) (*Accounts, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Generation == nil {
		c.Generation = auth.NewGeneration(c.DB)
	}
	states, err := lru.New[key, state](statesKept)
	if err != nil {
		return nil, err
	}
	a := &Accounts{db: c.DB, log: c.Log, generation: c.Generation, states: states, uses: newUses()}
	if c.Htpasswd != "" {
		if a.file, err = openHtpasswd(c.Htpasswd, c.Log); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Any reports whether there is any account: without one no login can succeed.
func (a *Accounts) Any(ctx context.Context) (bool, error) {
	if a.file != nil && len(a.file.users()) > 0 {
		return true, nil
	}
	// A key of no kind stands for whether there is a row at all.
	s, err := a.state(ctx, key{})
	return s.found, err
}

// Current is the identity of an account as it is now, limited by the token with
// the id credential (0: none). The error is ErrRefused if the account or the
// token is gone, disabled, revoked or expired. Anonymous callers stay what they
// are. It costs microseconds, and a point read or two after a change.
func (a *Accounts) Current(ctx context.Context, kind auth.Kind, name string, credential int64) (auth.Identity, error) {
	if kind == auth.KindAnonymous {
		return auth.Identity{Kind: kind}, nil
	}
	if kind != auth.KindUser && kind != auth.KindRobot {
		return auth.Identity{}, fmt.Errorf("%q has no account: %w", kind, ErrRefused)
	}
	s, err := a.state(ctx, key{kind, name, credential})
	if err != nil {
		return auth.Identity{}, err
	}
	if !s.found || s.disabled {
		return auth.Identity{}, fmt.Errorf("%s:%s is gone or disabled: %w", kind, name, ErrRefused)
	}
	i := auth.Identity{Kind: kind, Name: name, Groups: s.groups}
	if credential != 0 {
		if err := s.token.check(a.db.Now().UnixMilli()); err != nil {
			return auth.Identity{}, err
		}
		i.Credential, i.Scopes = credential, s.token.Scopes
	}
	return i, nil
}

// ByActor is the identity behind a name such as "user:anna", as it is now, with
// its groups: for work that goes on after the request of its author, and for
// explaining a decision. Limits of a token are not in it.
func (a *Accounts) ByActor(ctx context.Context, actor string) (auth.Identity, error) {
	kind, name, ok := auth.ParseActor(actor)
	if !ok {
		return auth.Identity{}, fmt.Errorf("%q names nobody: use user:NAME, robot:NAME or anonymous: %w", actor, ErrInvalid)
	}
	if kind == auth.KindUser || kind == auth.KindRobot {
		return a.Current(ctx, kind, name, 0)
	}
	return auth.Identity{Kind: kind, Name: name}, nil
}

// Password is the bcrypt hash of a user who may log in with a password; ok is
// false for everybody else.
func (a *Accounts) Password(ctx context.Context, name string) (hash string, ok bool, err error) {
	s, err := a.state(ctx, key{kind: auth.KindUser, name: name})
	if err != nil {
		return "", false, err
	}
	return s.hash, s.found && !s.disabled && s.hash != "", nil
}

// HashCost is the bcrypt cost of the dearest password that may be asked about:
// whoever wants a refusal to tell nothing has to spend as much each time.
func (a *Accounts) HashCost() int {
	if a.file == nil {
		return PasswordCost
	}
	return max(PasswordCost, a.file.cost())
}

// state reads what the database, or else the file, has of an account.
func (a *Accounts) state(ctx context.Context, k key) (state, error) {
	g, err := a.generation.Current(ctx)
	if err != nil {
		return state{}, err
	}
	s, ok := a.states.Get(k)
	if !ok || s.generation != g {
		if s, err = readState(a.db.Read(ctx), k); err != nil {
			return state{}, fmt.Errorf("read %s:%s: %w", k.kind, k.name, err)
		}
		s.generation = g // what was read is as new, or newer
		a.states.Add(k, s)
	}
	if !s.found && k.kind == auth.KindUser && a.file != nil {
		if hash, ok := a.file.users()[k.name]; ok {
			s.found, s.hash, s.groups = true, hash, []string{auth.GroupHtpasswd}
		}
	}
	return s, nil
}

func readState(tx *db.Tx, k key) (s state, err error) {
	switch k.kind {
	case auth.KindUser:
		var u User
		if u, s.found, err = UserNamed(tx, k.name); err != nil {
			return s, err
		}
		s.hash, s.groups, s.disabled = u.hash, u.Groups, u.Disabled
	case auth.KindRobot:
		var r Robot
		if r, s.found, err = RobotNamed(tx, k.name); err != nil {
			return s, err
		}
		s.disabled = r.Disabled
	case "":
		var one int
		s.found, err = tx.Row(`SELECT 1 FROM users UNION ALL SELECT 1 FROM robots LIMIT 1`, nil, &one)
		return s, err
	}
	if k.credential == 0 {
		return s, nil
	}
	t, found, err := TokenByID(tx, k.credential)
	if err == nil && found && t.OwnerKind == k.kind && t.Owner == k.name {
		s.token = t
	}
	return s, err
}
