package rest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

// ListTokens implements the API.
func (s *server) ListTokens(ctx context.Context, r ListTokensRequestObject) (ListTokensResponseObject, error) {
	kind, name, err := s.owner(ctx, r.Params.Owner)
	if err != nil {
		return nil, err
	}
	list, err := account.Tokens(s.DB.Read(ctx), kind, name)
	tokens := Tokens{Tokens: make([]Token, len(list))}
	for i, t := range list {
		tokens.Tokens[i] = fromToken(t)
	}
	return ListTokens200JSONResponse(tokens), err
}

// CreateToken implements the API.
func (s *server) CreateToken(ctx context.Context, r CreateTokenRequestObject) (CreateTokenResponseObject, error) {
	kind, name, err := s.owner(ctx, r.Body.Owner)
	if err != nil {
		return nil, err
	}
	scopes, err := auth.ParseScopes(valueOf(r.Body.Scopes))
	if err != nil {
		return nil, badRequest("create token: %s", err)
	}
	i := caller(ctx)
	if !within(scopes, i.Scopes) {
		return nil, s.refuse(ctx, "token.create", string(kind)+":"+name,
			fmt.Sprintf("the token in hand is limited to %s, and makes no token that may do more: give the new one scopes within these", strings.Join(i.Scopes.Strings(), " ")))
	}
	n := account.NewToken{
		OwnerKind: kind, Owner: name, Name: r.Body.Name, Scopes: scopes, Expires: millis(r.Body.ExpiresAt),
		CreatedBy: i.Actor(), Secret: account.NewSecret(account.PrefixFor(kind)),
	}
	var made account.Token
	if err := s.outlives(ctx, n); err != nil {
		return nil, err
	}
	err = s.changeAccess(ctx, func(tx *db.Tx) (_ []audit.Entry, err error) {
		made, err = account.CreateToken(tx, n)
		return []audit.Entry{tokenEntry("token.create", made)}, err
	})
	if err != nil {
		return nil, err
	}
	return CreateToken201JSONResponse(CreatedToken{Token: fromToken(made), Secret: n.Secret.Reveal()}), nil
}

// RevokeToken implements the API.
func (s *server) RevokeToken(ctx context.Context, r RevokeTokenRequestObject) (RevokeTokenResponseObject, error) {
	return RevokeToken204Response{}, s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		t, err := account.RevokeToken(tx, r.Id)
		return []audit.Entry{tokenEntry("token.revoke", t)}, err
	})
}

// owner is the account that a request names, which exists, or the caller.
func (s *server) owner(ctx context.Context, named *string) (auth.Kind, string, error) {
	kind, name, actor := caller(ctx).Kind, caller(ctx).Name, caller(ctx).Actor()
	if named != nil {
		actor = *named
		kind, name, _ = auth.ParseActor(actor)
	}
	if kind != auth.KindUser && kind != auth.KindRobot {
		return "", "", badRequest("%q has no tokens: say whose they are, with the owner user:NAME or robot:NAME", actor)
	}
	if found, err := s.exists(ctx, kind, name); err != nil || !found {
		if err == nil {
			err = notFound("there is no %s %q", kind, name)
		}
		return "", "", err
	}
	return kind, name, nil
}

// exists also finds accounts that are disabled, and those of the htpasswd file.
func (s *server) exists(ctx context.Context, kind auth.Kind, name string) (found bool, err error) {
	tx := s.DB.Read(ctx)
	if kind == auth.KindRobot {
		_, found, err = account.RobotNamed(tx, name)
		return found, err
	}
	if _, found, err = account.UserNamed(tx, name); err != nil || found {
		return found, err
	}
	_, err = s.Access.Accounts.Current(ctx, kind, name, 0)
	return err == nil, nil
}

// outlives refuses a token for oneself that would be good for longer than the
// one in hand: what somebody has for a day would be for ever.
func (s *server) outlives(ctx context.Context, n account.NewToken) error {
	i := caller(ctx)
	if i.Credential == 0 || i.Kind != n.OwnerKind || i.Name != n.Owner {
		return nil
	}
	t, found, err := account.TokenByID(s.DB.Read(ctx), i.Credential)
	if err != nil || !found || t.Expires == 0 || (n.Expires != 0 && n.Expires <= t.Expires) {
		return err
	}
	return s.refuse(ctx, "token.create", i.Actor(), fmt.Sprintf("the token in hand expires at %s, and makes no token that is good for longer: choose an earlier end, or log in with the password", moment(t.Expires)))
}

func listsOwnTokens(_ *server, ctx context.Context, request any) (bool, error) {
	return owns(ctx, request.(ListTokensRequestObject).Params.Owner), nil
}

func createsOwnToken(_ *server, ctx context.Context, request any) (bool, error) {
	return owns(ctx, request.(CreateTokenRequestObject).Body.Owner), nil
}

// revokesOwnToken: whoever holds a token may always end that one.
func revokesOwnToken(s *server, ctx context.Context, request any) (bool, error) {
	id, i := request.(RevokeTokenRequestObject).Id, caller(ctx)
	if i.Credential != 0 && id == i.Credential {
		return true, nil
	}
	t, found, err := account.TokenByID(s.DB.Read(ctx), id)
	return free(i) && found && t.OwnerKind == i.Kind && t.Owner == i.Name, err
}

func owns(ctx context.Context, owner *string) bool {
	i := caller(ctx)
	return free(i) && (owner == nil || *owner == i.Actor())
}

// within reports whether scopes allow nothing beyond limits. It may answer no
// where a closer look at the globs would find yes.
func within(scopes, limits auth.Scopes) bool {
	if len(limits) == 0 {
		return true
	}
	covered := func(a auth.Action, g auth.Glob) bool {
		return slices.ContainsFunc(limits, func(l auth.Scope) bool {
			return slices.Contains(l.Actions, a) && covers(l.Repositories, g)
		})
	}
	for _, s := range scopes {
		for _, a := range s.Actions {
			if !covered(a, s.Repositories) {
				return false
			}
		}
	}
	return len(scopes) > 0
}

// covers reports whether outer certainly matches all that inner does. A "*" of
// inner stands for any characters, as those wildcards of outer do that can take
// it in; a "**" stands for any parts, which only the "**" at the end of outer
// takes in for certain.
func covers(outer, inner auth.Glob) bool {
	o, i := outer.String(), inner.String()
	if o == "**" || o == i {
		return true
	}
	if !strings.Contains(i, "**") {
		return outer.Match(i)
	}
	below, ok := strings.CutSuffix(o, "**")
	return ok && !strings.Contains(below, "*") && strings.HasPrefix(i, below)
}

func tokenEntry(action string, t account.Token) audit.Entry {
	scopes := "without limits"
	if len(t.Scopes) > 0 {
		scopes = strings.Join(t.Scopes.Strings(), " ")
	}
	return audit.Entry{Action: action, Subject: fmt.Sprintf("token %d (%s) of %s:%s", t.ID, t.Name, t.OwnerKind, t.Owner), Reason: scopes}
}

func fromToken(t account.Token) Token {
	return Token{
		Id: t.ID, Owner: string(t.OwnerKind) + ":" + t.Owner, Name: t.Name, Scopes: t.Scopes.Strings(),
		CreatedAt: moment(t.Created), CreatedBy: t.CreatedBy, ExpiresAt: momentOr(t.Expires), UsedAt: momentOr(t.Used), RevokedAt: momentOr(t.Revoked),
	}
}
