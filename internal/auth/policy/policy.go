package policy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// Config of New. DB is required.
type Config struct {
	DB *db.DB
	// Generation may be shared with package account. Default: one of its own.
	Generation *auth.Generation
	// Anonymous is what everybody may do; 0 is nothing.
	Anonymous auth.Anonymous
	// UntilAccounts lets everybody do everything as long as nobody could log
	// in, instead.
	UntilAccounts bool
	// Accounts reports whether anybody could log in at all; it is asked about
	// callers without a login only. Default: yes.
	Accounts func(context.Context) (bool, error)
	Log      *slog.Logger // default: discards
}

// Policy decides. Safe for concurrent use.
type Policy struct {
	Config
	compiled atomic.Pointer[compiled]
}

// compiled is what the database had at a generation.
type compiled struct {
	generation int64
	rules      []Rule
	grace      []Rule // those for networks
	tags       []TagRule
}

// New makes a policy of what the database has, now and at any time later.
func New(c Config) *Policy {
	if c.Generation == nil {
		c.Generation = auth.NewGeneration(c.DB)
	}
	if c.Accounts == nil {
		c.Accounts = func(context.Context) (bool, error) { return true, nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Policy{Config: c}
}

// AnonymousLevel is what everybody may do now; 0 is nothing.
func (p *Policy) AnonymousLevel(ctx context.Context) auth.Anonymous {
	if p.UntilAccounts {
		if any, err := p.Accounts(ctx); err == nil && !any {
			return auth.AnonymousAdmin
		}
	}
	return p.Anonymous
}

// current is the compiled rules, read again if the generation has moved.
func (p *Policy) current(ctx context.Context) (*compiled, error) {
	g, err := p.Generation.Current(ctx)
	if err != nil {
		return nil, err
	}
	if c := p.compiled.Load(); c != nil && c.generation == g {
		return c, nil
	}
	var c *compiled
	if err := p.DB.View(ctx, func(tx *db.Tx) error {
		c, err = compile(tx)
		return err
	}); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	p.compiled.Store(c)
	return c, nil
}

func compile(tx *db.Tx) (*compiled, error) {
	c := &compiled{}
	var err error
	if c.generation, err = auth.StoredGeneration(tx); err != nil {
		return nil, err
	}
	all, err := Rules(tx)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.grace() {
			c.grace = append(c.grace, r)
		} else {
			c.rules = append(c.rules, r)
		}
	}
	c.tags, err = TagRules(tx)
	return c, err
}

// askLogin reports whether a caller is without a login and could have one.
func (p *Policy) askLogin(ctx context.Context, i auth.Identity) bool {
	if !i.IsAnonymous() {
		return false
	}
	any, err := p.Accounts(ctx)
	if err != nil {
		p.Log.Error("it is not known whether there are accounts", "err", err)
		return true
	}
	return any
}

// first is the first of the rules that is in force and that ok accepts.
func first(rules []Rule, now int64, ok func(*Rule) bool) *Rule {
	for i := range rules {
		if r := &rules[i]; r.live(now) && ok(r) {
			return r
		}
	}
	return nil
}

// Visible returns a filter for listings: whether the identity may pull from a
// repository. It does the work that is the same for every repository once, and
// holds for one request. An access token that allows to list is no limit on
// what is listed. On an error nothing is visible.
func (p *Policy) Visible(ctx context.Context, i auth.Identity) func(repository string) bool {
	c, err := p.current(ctx)
	if err != nil {
		p.Log.Error("nothing is listed: the rules cannot be read", "err", err)
		return func(string) bool { return false }
	}
	if i.IsAdmin() || p.AnonymousLevel(ctx).Authorize(auth.Pull, "") == nil {
		return func(repository string) bool { return i.Scopes.Allow(auth.Pull, repository) }
	}
	now := p.DB.Now().UnixMilli()
	var mine []auth.Glob
	for _, r := range slices.Concat(c.rules, c.grace) {
		if r.live(now) && slices.Contains(r.Actions, auth.Pull) && r.Subject.Match(i) {
			mine = append(mine, r.Repositories)
		}
	}
	return func(repository string) bool {
		return repository != "" && i.Scopes.Allow(auth.Pull, repository) &&
			slices.ContainsFunc(mine, func(g auth.Glob) bool { return g.Match(repository) })
	}
}

// Anything reports whether the identity may do anything anywhere. Who may do
// nothing at all and has no login is better asked for one than given a token.
func (p *Policy) Anything(ctx context.Context, i auth.Identity) bool {
	c, err := p.current(ctx)
	if err != nil {
		return false
	}
	return p.anything(ctx, c, i)
}

func (p *Policy) anything(ctx context.Context, c *compiled, i auth.Identity) bool {
	if i.IsAdmin() || p.AnonymousLevel(ctx) > 0 {
		return true
	}
	now := p.DB.Now().UnixMilli()
	mine := func(r *Rule) bool { return r.Subject.Match(i) }
	return first(c.rules, now, mine) != nil || first(c.grace, now, mine) != nil
}
