package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what somebody wants to do.
type Action string

// The actions; ping and list read nothing of one repository.
const (
	Ping   Action = "ping"
	List   Action = "list"
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
	Build  Action = "build" // runs programs on the server's machine
	Admin  Action = "admin"
)

// Grantable are the actions that rules and the scopes of tokens name. Ping and
// list follow from them.
var Grantable = []Action{Pull, Push, Delete, Build, Admin}

// ParseActions reads actions joined by commas, or "*" for all that can be
// granted. They come back in the order of Grantable, each once. No action
// implies another.
func ParseActions(s string) ([]Action, error) {
	if strings.TrimSpace(s) == "*" {
		return slices.Clone(Grantable), nil
	}
	var asked []Action
	for word := range strings.SplitSeq(s, ",") {
		a := Action(strings.TrimSpace(word))
		if !slices.Contains(Grantable, a) {
			return nil, fmt.Errorf("action %.40q is not known: use pull, push, delete, build, admin, or * for all", a)
		}
		asked = append(asked, a)
	}
	return slices.DeleteFunc(slices.Clone(Grantable), func(a Action) bool { return !slices.Contains(asked, a) }), nil
}

// JoinActions is the form that ParseActions reads.
func JoinActions(actions []Action) string {
	words := make([]string, len(actions))
	for i, a := range actions {
		words[i] = string(a)
	}
	return strings.Join(words, ",")
}
