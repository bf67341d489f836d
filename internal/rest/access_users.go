package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

// ListUsers implements the API.
func (s *server) ListUsers(ctx context.Context, _ ListUsersRequestObject) (ListUsersResponseObject, error) {
	list, err := account.Users(s.DB.Read(ctx))
	users := Users{Users: make([]User, len(list))}
	for i, u := range list {
		users.Users[i] = fromUser(u)
	}
	return ListUsers200JSONResponse(users), err
}

// CreateUser implements the API.
func (s *server) CreateUser(ctx context.Context, r CreateUserRequestObject) (CreateUserResponseObject, error) {
	n := account.NewUser{Name: r.Body.Name, Groups: valueOf(r.Body.Groups)}
	if err := auth.CheckName(n.Name); err != nil { // before the work of hashing
		return nil, badRequest("create user: %s", err)
	}
	if p := valueOf(r.Body.Password); p != "" {
		var err error
		if n.Hash, err = account.HashPassword(p); err != nil {
			return nil, explain(err)
		}
	}
	var made account.User
	err := s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		if err := account.CreateUser(tx, n); err != nil {
			return nil, err
		}
		var err error
		made, _, err = account.UserNamed(tx, n.Name)
		return []audit.Entry{{Action: "user.create", Subject: "user:" + n.Name, Reason: groupText(made.Groups)}}, err
	})
	return CreateUser201JSONResponse(fromUser(made)), err
}

// UpdateUser implements the API.
func (s *server) UpdateUser(ctx context.Context, r UpdateUserRequestObject) (UpdateUserResponseObject, error) {
	hash := ""
	if r.Body.Password != nil {
		var err error
		if hash, err = account.HashPassword(*r.Body.Password); err != nil {
			return nil, explain(err)
		}
	}
	var now account.User
	err := s.changeAccess(ctx, func(tx *db.Tx) (entries []audit.Entry, err error) {
		before, found, err := account.UserNamed(tx, r.User)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, s.noUser(ctx, r.User)
		}
		if entries, err = updateUser(tx, r.User, hash, r.Body); err != nil {
			return nil, err
		}
		if now, _, err = account.UserNamed(tx, r.User); err != nil {
			return nil, err
		}
		return entries, keepAdmin(tx, before, isAdmin(now))
	})
	return UpdateUser200JSONResponse(fromUser(now)), err
}

func updateUser(tx *db.Tx, name, hash string, u *UserUpdate) (entries []audit.Entry, err error) {
	wrote := func(action, reason string) {
		entries = append(entries, audit.Entry{Action: action, Subject: "user:" + name, Reason: reason})
	}
	if hash != "" {
		if err := account.SetPassword(tx, name, hash); err != nil {
			return nil, err
		}
		wrote("user.password", "")
	}
	if u.Groups != nil {
		if err := account.SetGroups(tx, name, *u.Groups); err != nil {
			return nil, err
		}
		wrote("user.groups", groupText(*u.Groups))
	}
	if u.Disabled != nil {
		if err := account.SetUserDisabled(tx, name, *u.Disabled); err != nil {
			return nil, err
		}
		wrote(ableText("user", *u.Disabled), "")
	}
	return entries, nil
}

// DeleteUser implements the API.
func (s *server) DeleteUser(ctx context.Context, r DeleteUserRequestObject) (DeleteUserResponseObject, error) {
	return DeleteUser204Response{}, s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		before, found, err := account.UserNamed(tx, r.User)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, s.noUser(ctx, r.User)
		}
		if err := errors.Join(keepAdmin(tx, before, false), account.DeleteUser(tx, r.User)); err != nil {
			return nil, err
		}
		return []audit.Entry{{Action: "user.delete", Subject: "user:" + r.User}}, nil
	})
}

// noUser says why a user cannot be changed here.
func (s *server) noUser(ctx context.Context, name string) error {
	if _, err := s.Access.Accounts.Current(ctx, auth.KindUser, name, 0); err == nil {
		return problemError{http.StatusConflict, fmt.Sprintf("user %s comes from the htpasswd file: change it there, or make a user of that name here, which then counts", name)}
	}
	return notFound("there is no user %q", name)
}

// keepAdmin refuses a change of a user after which no administrator is left who
// could take it back over the network. stays: the user remains one.
func keepAdmin(tx *db.Tx, before account.User, stays bool) error {
	if stays || !isAdmin(before) {
		return nil
	}
	all, err := account.Users(tx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(u account.User) bool { return u.Name != before.Name && isAdmin(u) }) {
		return nil
	}
	return problemError{http.StatusConflict, fmt.Sprintf("%s is the last enabled user in group %s, and nothing was changed: put another one into that group first", before.Name, auth.GroupAdmins)}
}

func isAdmin(u account.User) bool { return !u.Disabled && slices.Contains(u.Groups, auth.GroupAdmins) }

// setsOwnPassword: nothing else of oneself, and not by a token, which could then
// not be taken back by revoking it.
func setsOwnPassword(_ *server, ctx context.Context, request any) (bool, error) {
	r := request.(UpdateUserRequestObject)
	i := caller(ctx)
	return free(i) && i.Credential == 0 && r.User == i.Name && r.Body.Password != nil && r.Body.Groups == nil && r.Body.Disabled == nil, nil
}

func fromUser(u account.User) User {
	return User{Name: u.Name, Groups: or(u.Groups), Disabled: u.Disabled, Password: u.HasPassword, CreatedAt: moment(u.Created), UsedAt: momentOr(u.Used)}
}

func groupText(groups []string) string {
	if len(groups) == 0 {
		return "in no group"
	}
	return "in " + strings.Join(groups, ", ")
}

func ableText(kind string, disabled bool) string {
	if disabled {
		return kind + ".disable"
	}
	return kind + ".enable"
}
