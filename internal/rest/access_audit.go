package rest

import (
	"context"

	"slipway/internal/audit"
)

// ListAudit implements the API.
func (s *server) ListAudit(ctx context.Context, r ListAuditRequestObject) (ListAuditResponseObject, error) {
	p := r.Params
	f := audit.Filter{
		Since: millis(p.Since), Actor: valueOf(p.Actor), Address: valueOf(p.Address), Action: valueOf(p.Action), Repository: valueOf(p.Repository),
		Before: valueOf(p.Before), After: valueOf(p.After), Forward: p.After != nil, Limit: valueOf(p.N),
	}
	if p.Outcome != nil {
		if !p.Outcome.Valid() {
			return nil, badRequest("outcome %.40q is not known: use allowed or refused", *p.Outcome)
		}
		f.Outcome = audit.Outcome(*p.Outcome)
	}
	list, err := audit.List(s.DB.Read(ctx), f)
	entries := Audit{Entries: make([]AuditEntry, len(list))}
	for i, e := range list {
		entries.Entries[i] = fromEntry(e)
	}
	return ListAudit200JSONResponse(entries), err
}

func fromEntry(e audit.Entry) AuditEntry {
	a := AuditEntry{Id: e.ID, At: moment(e.At), Actor: e.Actor, Address: e.Address, Action: e.Action, Outcome: AuditEntryOutcome(e.Outcome), Times: e.Times}
	for value, field := range map[*string]**string{
		&e.Repository: &a.Repository, &e.Subject: &a.Subject, &e.OldDigest: &a.OldDigest, &e.NewDigest: &a.NewDigest, &e.Reason: &a.Reason,
	} {
		if *value != "" {
			*field = value
		}
	}
	return a
}

// GetTrust implements the API.
func (s *server) GetTrust(ctx context.Context, _ GetTrustRequestObject) (GetTrustResponseObject, error) {
	if s.Access.Trust == nil {
		return nil, notFound("this server serves no TLS: there is nothing to trust")
	}
	t, err := s.Access.Trust(ctx)
	t.Refusals = or(t.Refusals)
	return GetTrust200JSONResponse(t), err
}
