//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/audit"
	"slipway/internal/remote"
	"slipway/internal/rest"
)

// followEvery is how often --follow asks for what is new.
const followEvery = time.Second

func newAuditCommand() *cobra.Command {
	var actor, repository, action, since string
	var refused, follow bool
	var n int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read the audit log: changes, and attempts that were refused",
		Long: `Read the audit log, the oldest entries first. With -o json each line is one
entry. Refused attempts appear about a second after they were made; equal ones
of the same moment are one entry with their number.` + apiHelp,
		Example: `  slipway audit --since 24h --refused
  slipway audit --actor user:anna --repository team/app
  slipway audit --follow -o json`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&actor, "actor", "", "only by `ACTOR`, such as user:anna or anonymous")
	f.StringVar(&repository, "repository", "", "only in `REPOSITORY`")
	f.StringVar(&action, "action", "", "only this `ACTION`, such as push, login or user.create")
	f.BoolVar(&refused, "refused", false, "only what was refused")
	f.StringVar(&since, "since", "", "only since a time such as 24h or 7d ago, or since a day such as 2026-11-24")
	f.IntVarP(&n, "number", "n", 100, "show the last `N` entries; 0 shows all")
	f.BoolVar(&follow, "follow", false, "go on with new entries as they come, until Ctrl-C")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		start, err := parseStart(since, time.Now())
		switch {
		case err != nil:
			return usageError{fmt.Errorf("--since: %w", err)}
		case n < 0:
			return usageError{fmt.Errorf("-n is %d: it must not be negative", n)}
		case follow && c.own:
			return errors.New("no server uses this data folder, so nothing new comes: leave --follow out, or start the server")
		}
		l := &auditLog{apiCommand: c, filter: rest.ListAuditParams{Since: start}}
		for value, field := range map[*string]**string{&actor: &l.filter.Actor, &repository: &l.filter.Repository, &action: &l.filter.Action} {
			if *value != "" {
				*field = value
			}
		}
		if refused {
			outcome := rest.ListAuditParamsOutcomeRefused
			l.filter.Outcome = &outcome
		}
		return l.show(n, follow)
	})
}

// auditLog reads entries page by page.
type auditLog struct {
	*apiCommand
	filter rest.ListAuditParams
	last   int64 // id of the last entry that was shown
}

func (l *auditLog) page(filter rest.ListAuditParams) ([]rest.AuditEntry, error) {
	answer, err := ask[rest.Audit](l.endpoint, "audit", func(r *rest.Client) (*http.Response, error) { return r.ListAudit(l.cmd.Context(), &filter) })
	return answer.Entries, err
}

const auditPage = 1000

func (l *auditLog) show(n int, follow bool) error {
	if n == 0 {
		if err := l.forward(); err != nil {
			return err
		}
	} else if err := l.tail(n); err != nil {
		return err
	}
	for follow {
		select {
		case <-l.cmd.Context().Done():
			return nil // it was asked to end
		case <-time.After(followEvery):
		}
		if err := l.forward(); err != nil {
			if l.cmd.Context().Err() != nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// tail shows the last n entries.
func (l *auditLog) tail(n int) error {
	var all []rest.AuditEntry
	filter := l.filter
	for len(all) < n {
		size := min(n-len(all), auditPage)
		filter.N = &size
		page, err := l.page(filter)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < size {
			break
		}
		filter.Before = &page[len(page)-1].Id
	}
	slices.Reverse(all)
	return l.write(all)
}

// forward shows all entries after the last one that was shown.
func (l *auditLog) forward() error {
	filter, size := l.filter, auditPage
	filter.N = &size
	for {
		filter.After = &l.last
		page, err := l.page(filter)
		if err != nil {
			return err
		}
		if err := l.write(page); err != nil {
			return err
		}
		if len(page) < size {
			return nil
		}
	}
}

func (l *auditLog) write(entries []rest.AuditEntry) error {
	w := &stickyWriter{w: l.cmd.OutOrStdout()}
	for _, e := range entries {
		l.last = max(l.last, e.Id)
		if l.json {
			if err := json.NewEncoder(w).Encode(e); err != nil {
				return err
			}
			continue
		}
		writeEntry(w, e)
	}
	return w.err
}

func writeEntry(w io.Writer, e rest.AuditEntry) {
	entry := audit.Entry{Actor: e.Actor, Address: e.Address, Action: e.Action, Outcome: audit.Outcome(e.Outcome), Times: e.Times}
	for from, to := range map[*string]*string{e.Repository: &entry.Repository, e.Subject: &entry.Subject, e.OldDigest: &entry.OldDigest, e.NewDigest: &entry.NewDigest, e.Reason: &entry.Reason} {
		if from != nil {
			*to = *from
		}
	}
	fmt.Fprintf(w, "%s %s\n", e.At.Format(time.RFC3339), remote.CleanText(entry.String()))
}
