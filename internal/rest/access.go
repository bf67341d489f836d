package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/oci"
)

// Access is what the API needs to keep accounts and rules.
//
// All of it is for administrators, except what is somebody's own business: who
// one is, what one may do, one's own password and one's own tokens. Config's
// Authorize decides who is an administrator; what is somebody's own is decided
// here (see accessOperations). Every change writes its entry of the audit log in the
// same transaction.
type Access struct {
	Accounts *account.Accounts
	Policy   *policy.Policy
	// Caller is who makes a request, as package login found out. Requests whose
	// credentials are wrong do not come this far.
	Caller func(*http.Request) auth.Identity
	// Refused is told of what this package refuses beyond Authorize, for the
	// audit log. It must not block. Default: nobody is told.
	Refused func(audit.Entry)
	// Trust is the state of the certificates; nil where there is no TLS.
	Trust func(context.Context) (Trust, error)
}

// problemError is a failure whose status no code of the distribution API has.
type problemError struct {
	status int
	title  string
}

func (e problemError) Error() string { return e.title }

func notFound(format string, args ...any) error {
	return problemError{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return problemError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// statuses are those of what accounts and rules refuse.
var statuses = []struct {
	is     error
	status int
}{
	{account.ErrNotFound, http.StatusNotFound},
	{policy.ErrNotFound, http.StatusNotFound},
	{account.ErrExists, http.StatusConflict},
	{account.ErrInvalid, http.StatusBadRequest},
	{policy.ErrInvalid, http.StatusBadRequest},
}

// explain gives an error of accounts or rules its status. Where the sentinel
// says no more than the status does, its text is left out.
func explain(err error) error {
	for _, s := range statuses {
		if errors.Is(err, s.is) {
			text := err.Error()
			if s.status != http.StatusNotFound {
				text = strings.TrimSuffix(text, ": "+s.is.Error())
			}
			return problemError{s.status, text}
		}
	}
	return err
}

type identityKey struct{}

// caller is who makes the request that ctx belongs to.
func caller(ctx context.Context) auth.Identity {
	i, _ := ctx.Value(identityKey{}).(auth.Identity)
	return i
}

func addressOf(i auth.Identity) string {
	if !i.Address.IsValid() {
		return ""
	}
	return i.Address.String()
}

// changeAccess runs fn and writes the entry that it returns, with who made the
// change and from where, in one transaction.
func (s *server) changeAccess(ctx context.Context, fn func(*db.Tx) ([]audit.Entry, error)) error {
	i := caller(ctx)
	return explain(s.DB.Update(ctx, func(tx *db.Tx) error {
		entries, err := fn(tx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			e.Actor, e.Address, e.Outcome = i.Actor(), addressOf(i), audit.Allowed
			if err := audit.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	}))
}

// refuse is a refusal that Authorize knows nothing of.
func (s *server) refuse(ctx context.Context, action, subject, why string) error {
	if s.Access.Refused != nil {
		i := caller(ctx)
		s.Access.Refused(audit.Entry{Actor: i.Actor(), Address: addressOf(i), Action: action, Subject: subject, Outcome: audit.Refused, Reason: why})
	}
	return oci.NewError(oci.CodeDenied, why)
}

// accessOperations are the operations on accounts and rules, with what makes one the
// caller's own business; nil: nothing does, it takes an administrator.
var accessOperations = map[string]func(*server, context.Context, any) (bool, error){
	"WhoAmI":        func(*server, context.Context, any) (bool, error) { return true, nil },
	"CheckPolicy":   checksItself,
	"UpdateUser":    setsOwnPassword,
	"ListTokens":    listsOwnTokens,
	"CreateToken":   createsOwnToken,
	"RevokeToken":   revokesOwnToken,
	"ListUsers":     nil,
	"CreateUser":    nil,
	"DeleteUser":    nil,
	"ListRobots":    nil,
	"CreateRobot":   nil,
	"UpdateRobot":   nil,
	"DeleteRobot":   nil,
	"ListRules":     nil,
	"CreateRule":    nil,
	"DeleteRule":    nil,
	"ListTagRules":  nil,
	"CreateTagRule": nil,
	"DeleteTagRule": nil,
	"ListAudit":     nil,
	"GetTrust":      nil,
}

// authorizeAccess decides about the operations on accounts and rules. known is
// false for every other one.
func (s *server) authorizeAccess(ctx context.Context, r *http.Request, operation string, request any) (known bool, err error) {
	own, known := accessOperations[operation]
	if !known {
		return false, nil
	}
	if s.Access == nil {
		return true, notFound("this server keeps no accounts")
	}
	if own != nil {
		if mine, err := own(s, ctx, request); err != nil || mine {
			return true, err
		}
	}
	return true, s.Authorize(r, auth.Admin, "")
}

// free reports whether the caller is a user with all that the user may: no
// limit of a token is in the way. A token that was made for less must not lead
// to another one.
func free(i auth.Identity) bool {
	return i.Kind == auth.KindUser && i.Access == nil && i.Scopes.Allow(auth.Admin, "")
}

// moment is a time in milliseconds as the API shows it.
func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// momentOr is the same for a time that may be missing.
func momentOr(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := moment(ms)
	return &t
}

func millis(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixMilli()
}

func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// or is list, or an empty one: never null.
func or[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
