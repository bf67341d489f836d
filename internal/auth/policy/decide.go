package policy

import (
	"context"
	"fmt"
	"slices"

	"slipway/internal/auth"
	"slipway/internal/oci"
)

// Decision is an answer and its reason.
type Decision struct {
	Allowed bool
	// Rule is the id of the rule that allowed; 0 where no rule did.
	Rule int64
	// Why says, for a person, what decided.
	Why string
	// Grace: only the caller's network allowed it, until a date. Each use is
	// to be written into the audit log.
	Grace bool
	// InsufficientScope: the access token in hand was not issued for this,
	// and the rules would allow it. A client asks for another token.
	InsufficientScope bool

	action     auth.Action
	repository string
	login      bool // there is somebody to log in as, and nobody did
	err        error
}

// Err is nil if the decision allows, and else what to answer: an UNAUTHORIZED
// *oci.Error if another login or token could change it, which goes with a
// challenge, and DENIED if not; UNAVAILABLE if the rules could not be read.
func (d Decision) Err() error {
	what := verb(d.action)
	if d.repository != "" {
		what += " in repository " + d.repository
	}
	switch {
	case d.Allowed:
		return nil
	case d.err != nil:
		return oci.NewError(oci.CodeUnavailable, "the registry cannot read its rules: try again; its log says why").WithCause(d.err)
	case d.InsufficientScope:
		return oci.NewError(oci.CodeUnauthorized, fmt.Sprintf("the access token was not issued for this: %s: ask for a token with that scope", what))
	case d.login && d.action == auth.Ping:
		return oci.NewError(oci.CodeUnauthorized, "log in, or ask for a token")
	case d.login:
		return oci.NewError(oci.CodeUnauthorized, fmt.Sprintf("not without a login: %s: log in, such as with docker login", what))
	}
	return oci.NewError(oci.CodeDenied, fmt.Sprintf("you may not %s: %s. An administrator can allow it with 'slipway policy add'", what, d.Why))
}

// verb is an action within a sentence.
func verb(a auth.Action) string {
	if a == auth.Admin {
		return "administer"
	}
	return string(a)
}

// Decide answers for one action. repository is empty for what belongs to none:
// ping, list, and the administration of the whole server. A failure to read the
// rules refuses.
func (p *Policy) Decide(ctx context.Context, i auth.Identity, action auth.Action, repository string) Decision {
	d := Decision{action: action, repository: repository}
	if i.Kind == auth.KindLocal || i.Kind == auth.KindSystem {
		d.Allowed, d.Why = true, "the "+i.Actor()+" may do everything"
		return d
	}
	c, err := p.current(ctx)
	if err != nil {
		p.Log.Error("refused: the rules cannot be read", "err", err)
		d.err, d.Why = err, "the rules cannot be read"
		return d
	}
	p.decide(ctx, c, i, &d)
	if d.Allowed && !i.Access.Allow(action, repository) {
		d.Allowed, d.Grace, d.InsufficientScope = false, false, true
		d.Why = "the access token was not issued for it; otherwise: " + d.Why
	}
	d.login = !d.Allowed && p.askLogin(ctx, i)
	return d
}

// decide leaves out what the access token was issued for.
func (p *Policy) decide(ctx context.Context, c *compiled, i auth.Identity, d *Decision) {
	switch {
	case !i.Scopes.Allow(d.action, d.repository):
		d.Why = "the scopes of the token do not include it"
	case d.action == auth.Ping:
		d.Allowed, d.Why = i.Access != nil || !p.askLogin(ctx, i), "who has a login or a token may ask for the version of the API"
	case d.action == auth.List:
		d.Allowed, d.Why = p.anything(ctx, c, i), "who may do anything may list, and sees what they may pull"
		if !d.Allowed {
			d.Why = "no rule gives " + i.Actor() + " anything"
		}
	case i.IsAdmin():
		d.Allowed, d.Why = true, i.Actor()+" is in group "+auth.GroupAdmins
	default:
		p.byRules(ctx, c, i, d)
	}
}

func (p *Policy) byRules(ctx context.Context, c *compiled, i auth.Identity, d *Decision) {
	now := p.DB.Now().UnixMilli()
	allows := func(r *Rule) bool {
		return slices.Contains(r.Actions, d.action) && r.Subject.Match(i) && r.Repositories.Match(d.repository)
	}
	if r := first(c.rules, now, allows); r != nil {
		d.Allowed, d.Rule, d.Why = true, r.ID, fmt.Sprintf("rule %d: %s", r.ID, r)
		return
	}
	if level := p.AnonymousLevel(ctx); level.Authorize(d.action, d.repository) == nil {
		d.Allowed, d.Why = true, fmt.Sprintf("the setting 'anonymous' lets everybody %s", verb(d.action))
		return
	}
	if r := first(c.grace, now, allows); r != nil {
		d.Allowed, d.Grace, d.Rule, d.Why = true, true, r.ID, fmt.Sprintf("rule %d: %s", r.ID, r)
		return
	}
	d.Why = fmt.Sprintf("no rule allows %s to %s there", i.Actor(), verb(d.action))
	if d.repository == "" {
		d.Why = fmt.Sprintf("no rule allows %s to %s everywhere (**)", i.Actor(), verb(d.action))
	}
}
