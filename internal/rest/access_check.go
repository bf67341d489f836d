package rest

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/oci"
)

// WhoAmI implements the API.
func (s *server) WhoAmI(ctx context.Context, _ WhoAmIRequestObject) (WhoAmIResponseObject, error) {
	i := caller(ctx)
	c := Caller{Actor: i.Actor(), Kind: CallerKind(i.Kind), Groups: or(i.Groups), Admin: s.Access.Policy.Decide(ctx, i, auth.Admin, "").Allowed}
	if i.IsAnonymous() {
		c.Kind = CallerKindAnonymous
	}
	if i.Name != "" {
		c.Name = &i.Name
	}
	if len(i.Scopes) > 0 {
		scopes := i.Scopes.Strings()
		c.Scopes = &scopes
	}
	return WhoAmI200JSONResponse(c), nil
}

// checksItself also of who has no login.
func checksItself(_ *server, ctx context.Context, request any) (bool, error) {
	return request.(CheckPolicyRequestObject).Params.Subject == caller(ctx).Actor(), nil
}

// CheckPolicy implements the API. What somebody asks about himself is answered
// with the limits of the token in hand.
func (s *server) CheckPolicy(ctx context.Context, r CheckPolicyRequestObject) (CheckPolicyResponseObject, error) {
	repository := valueOf(r.Params.Repository)
	if repository != "" {
		if err := oci.CheckRepository(repository); err != nil {
			return nil, err
		}
	}
	if !r.Params.Action.Valid() {
		return nil, badRequest("action %.40q is not known: use pull, push, delete, build or admin", r.Params.Action)
	}
	who := caller(ctx)
	if r.Params.Subject != who.Actor() {
		var err error
		who, err = s.somebody(ctx, r.Params.Subject)
		if errors.Is(err, account.ErrRefused) {
			return CheckPolicy200JSONResponse(Decision{Why: strings.TrimSuffix(err.Error(), ": "+account.ErrRefused.Error())}), nil
		}
		if err != nil {
			return nil, err
		}
	}
	d := s.Access.Policy.Decide(ctx, who, auth.Action(r.Params.Action), repository)
	answer := Decision{Allowed: d.Allowed, Why: d.Why, Grace: d.Grace}
	if d.Rule != 0 {
		answer.Rule = &d.Rule
	}
	return CheckPolicy200JSONResponse(answer), nil
}

// somebody is a caller whom a subject describes: an account as it is now, or
// one that nobody has, with just the property that the subject names.
func (s *server) somebody(ctx context.Context, text string) (auth.Identity, error) {
	if kind, _, ok := auth.ParseActor(text); ok && kind != auth.KindWorkload {
		return s.Access.Accounts.ByActor(ctx, text)
	}
	subject, err := auth.ParseSubject(text)
	if err != nil {
		return auth.Identity{}, badRequest("%s", err)
	}
	switch subject.Kind {
	case auth.SubjectAuthenticated:
		return auth.Identity{Kind: auth.KindUser, Name: "<anybody>"}, nil
	case auth.SubjectGroup:
		return auth.Identity{Kind: auth.KindUser, Name: "<anybody in " + subject.Name + ">", Groups: []string{subject.Name}}, nil
	case auth.SubjectNetwork:
		network, err := netip.ParsePrefix(subject.Name)
		return auth.Nobody(network.Addr()), err
	case auth.SubjectWorkload:
		claims := map[string]string{}
		for pair := range strings.SplitSeq(subject.Name, ",") {
			name, value, _ := strings.Cut(pair, "=")
			claims[name] = value
		}
		return auth.Identity{Kind: auth.KindWorkload, Name: subject.Name, Claims: claims}, nil
	}
	return auth.Identity{Kind: auth.KindAnonymous}, nil
}
