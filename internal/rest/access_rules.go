package rest

import (
	"context"
	"fmt"
	"strings"

	"slipway/internal/audit"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
)

// ListRules implements the API.
func (s *server) ListRules(ctx context.Context, _ ListRulesRequestObject) (ListRulesResponseObject, error) {
	list, err := policy.Rules(s.DB.Read(ctx))
	rules := Rules{Rules: make([]Rule, len(list))}
	for i, r := range list {
		rules.Rules[i] = fromRule(r)
	}
	return ListRules200JSONResponse(rules), err
}

// CreateRule implements the API.
func (s *server) CreateRule(ctx context.Context, r CreateRuleRequestObject) (CreateRuleResponseObject, error) {
	actions := make([]string, len(r.Body.Actions))
	for i, a := range r.Body.Actions {
		actions[i] = string(a)
	}
	rule, err := policy.ParseRule(r.Body.Subject, strings.Join(actions, ","), r.Body.Repositories)
	if err != nil {
		return nil, explain(err)
	}
	rule.Expires, rule.Note, rule.CreatedBy = millis(r.Body.ExpiresAt), valueOf(r.Body.Note), caller(ctx).Actor()
	err = s.changeAccess(ctx, func(tx *db.Tx) (_ []audit.Entry, err error) {
		made, err := policy.AddRule(tx, rule)
		rule.ID, rule.Created = made.ID, made.Created
		return []audit.Entry{ruleEntry("rule.add", made)}, err
	})
	return CreateRule201JSONResponse(fromRule(rule)), err
}

// DeleteRule implements the API.
func (s *server) DeleteRule(ctx context.Context, r DeleteRuleRequestObject) (DeleteRuleResponseObject, error) {
	return DeleteRule204Response{}, s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		removed, err := policy.RemoveRule(tx, r.Id)
		return []audit.Entry{ruleEntry("rule.remove", removed)}, err
	})
}

func ruleEntry(action string, r policy.Rule) audit.Entry {
	return audit.Entry{Action: action, Repository: r.Repositories.String(), Subject: fmt.Sprintf("rule %d", r.ID), Reason: r.String()}
}

func fromRule(r policy.Rule) Rule {
	actions := make([]string, len(r.Actions))
	for i, a := range r.Actions {
		actions[i] = string(a)
	}
	return Rule{
		Id: r.ID, Subject: r.Subject.String(), Repositories: r.Repositories.String(), Actions: actions,
		ExpiresAt: momentOr(r.Expires), Note: r.Note, CreatedAt: moment(r.Created), CreatedBy: r.CreatedBy,
	}
}

// ListTagRules implements the API.
func (s *server) ListTagRules(ctx context.Context, _ ListTagRulesRequestObject) (ListTagRulesResponseObject, error) {
	list, err := policy.TagRules(s.DB.Read(ctx))
	rules := TagRules{Rules: make([]TagRule, len(list))}
	for i, r := range list {
		rules.Rules[i] = fromTagRule(r)
	}
	return ListTagRules200JSONResponse(rules), err
}

// CreateTagRule implements the API.
func (s *server) CreateTagRule(ctx context.Context, r CreateTagRuleRequestObject) (CreateTagRuleResponseObject, error) {
	rule, err := policy.ParseTagRule(string(r.Body.Kind), r.Body.Repositories, r.Body.Tags, valueOf(r.Body.Movers)...)
	if err != nil {
		return nil, explain(err)
	}
	rule.AdminOverride, rule.Note, rule.CreatedBy = valueOf(r.Body.AdminOverride), valueOf(r.Body.Note), caller(ctx).Actor()
	err = s.changeAccess(ctx, func(tx *db.Tx) (_ []audit.Entry, err error) {
		made, err := policy.AddTagRule(tx, rule)
		rule.ID, rule.Created = made.ID, made.Created
		return []audit.Entry{tagRuleEntry("tag-rule.add", made)}, err
	})
	return CreateTagRule201JSONResponse(fromTagRule(rule)), err
}

// DeleteTagRule implements the API.
func (s *server) DeleteTagRule(ctx context.Context, r DeleteTagRuleRequestObject) (DeleteTagRuleResponseObject, error) {
	return DeleteTagRule204Response{}, s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		removed, err := policy.RemoveTagRule(tx, r.Id)
		return []audit.Entry{tagRuleEntry("tag-rule.remove", removed)}, err
	})
}

func tagRuleEntry(action string, r policy.TagRule) audit.Entry {
	return audit.Entry{Action: action, Repository: r.Repositories.String(), Subject: fmt.Sprintf("tag rule %d", r.ID), Reason: r.String()}
}

func fromTagRule(r policy.TagRule) TagRule {
	movers := make([]string, len(r.Movers))
	for i, m := range r.Movers {
		movers[i] = m.String()
	}
	return TagRule{
		Id: r.ID, Kind: TagRuleKind(r.Kind), Repositories: r.Repositories.String(), Tags: r.Tags.String(), Movers: movers,
		AdminOverride: r.AdminOverride, Note: r.Note, CreatedAt: moment(r.Created), CreatedBy: r.CreatedBy,
	}
}
