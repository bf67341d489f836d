//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway/internal/auth"
	"slipway/internal/events"
	"slipway/internal/remote"
	"slipway/internal/rest"
)

// observed is a server before it is closed.
type observed struct {
	running       bool
	level         string // what everybody may do: none, pull, push or admin; empty: nothing runs that knew
	administrator string // one of them; empty: there is none
	users         int
	rules         []rest.Rule
	trust         rest.Trust // of a running server with TLS
	pushers       []*pusher
	cut           bool // there are older entries than were read
}

// pusher is who pushed from one address.
type pusher struct {
	actor, address string
	pushes         int64
	last           time.Time
	repositories   map[string]bool
}

func (p *pusher) anonymous() bool  { return p.actor == auth.Identity{}.Actor() }
func (p *pusher) sorted() []string { return slices.Sorted(maps.Keys(p.repositories)) }

// maxEntries bounds how far back the audit log is read.
const maxEntries = 100_000

func (s *closing) observe() (*observed, error) {
	ctx := s.cmd.Context()
	o := &observed{running: !s.own}
	users, err := ask[rest.Users](s.endpoint, "list users", func(c *rest.Client) (*http.Response, error) { return c.ListUsers(ctx) })
	if err != nil {
		return nil, err
	}
	o.users = len(users.Users)
	for _, u := range users.Users {
		if isAdministrator(u) {
			o.administrator = cmp.Or(o.administrator, u.Name)
		}
	}
	rules, err := ask[rest.Rules](s.endpoint, "list rules", func(c *rest.Client) (*http.Response, error) { return c.ListRules(ctx) })
	if err != nil {
		return nil, err
	}
	o.rules = rules.Rules
	if o.running {
		if o.level, err = s.level(ctx); err != nil {
			return nil, err
		}
		// A server without TLS has none.
		o.trust, _ = ask[rest.Trust](s.endpoint, "ask for the certificate", func(c *rest.Client) (*http.Response, error) { return c.GetTrust(ctx) })
	}
	return o, s.readPushes(o)
}

// level finds out what the running server's setting anonymous is.
func (s *closing) level(ctx context.Context) (string, error) {
	for _, probe := range []struct {
		level, repository string
	}{{"admin", ""}, {"push", "slipway/secure"}, {"pull", "slipway/secure"}} {
		params := &rest.CheckPolicyParams{Subject: "anonymous", Action: rest.CheckPolicyParamsAction(probe.level)}
		if probe.repository != "" {
			params.Repository = &probe.repository
		}
		d, err := ask[rest.Decision](s.endpoint, "check", func(c *rest.Client) (*http.Response, error) { return c.CheckPolicy(ctx, params) })
		if err != nil {
			return "", err
		}
		if d.Allowed && d.Rule == nil {
			return probe.level, nil
		}
	}
	return "none", nil
}

// readPushes adds up the pushes of the last days, the newest first.
func (s *closing) readPushes(o *observed) error {
	since, action, size := time.Now().AddDate(0, 0, -s.days), string(events.ManifestPushed), auditPage
	l := &auditLog{apiCommand: s.apiCommand, filter: rest.ListAuditParams{Since: &since, Action: &action, N: &size}}
	byWho := map[[2]string]*pusher{}
	for read := 0; ; {
		page, err := l.page(l.filter)
		if err != nil {
			return err
		}
		for _, e := range page {
			if e.Address == "" {
				continue // the server's own work
			}
			key := [2]string{e.Actor, e.Address}
			p := byWho[key]
			if p == nil {
				p = &pusher{actor: e.Actor, address: e.Address, last: e.At, repositories: map[string]bool{}}
				byWho[key] = p
				o.pushers = append(o.pushers, p)
			}
			p.pushes += e.Times
			if e.Repository != nil {
				p.repositories[*e.Repository] = true
			}
		}
		if read += len(page); read >= maxEntries {
			o.cut = true
		}
		if len(page) < size || o.cut {
			break
		}
		l.filter.Before = &page[len(page)-1].Id
	}
	slices.SortStableFunc(o.pushers, func(a, b *pusher) int { return cmp.Compare(b.pushes, a.pushes) })
	return nil
}

// maxShown is how many repositories of one pusher are named.
const maxShown = 4

func (o *observed) print(w io.Writer, s *closing) {
	fmt.Fprintf(w, "Pushes of the last %d days, from the audit log:\n", s.days)
	if len(o.pushers) == 0 {
		fmt.Fprintln(w, "  none")
	} else {
		rows := [][]string{{"  ADDRESS", "WHO", "PUSHES", "LAST", "REPOSITORIES"}}
		for _, p := range o.pushers {
			names := p.sorted()
			more := ""
			if len(names) > maxShown {
				more = fmt.Sprintf(" and %d more", len(names)-maxShown)
				names = names[:maxShown]
			}
			rows = append(rows, []string{"  " + remote.CleanText(p.address), remote.CleanText(p.actor), strconv.FormatInt(p.pushes, 10), momentText(&p.last), remote.CleanText(strings.Join(names, ", ")) + more})
		}
		table(w, rows)
	}
	if o.cut {
		fmt.Fprintf(w, "  … and older ones: only the last %d entries were read; --days takes fewer\n", maxEntries)
	}
	fmt.Fprintln(w, "Pulls are not in the audit log. While log.access is on, as it is unless it was turned off, the server's log has them with their addresses.")
	switch o.level {
	case "":
		fmt.Fprintln(w, "No server uses this folder now, so it is not known what --anonymous lets everybody do.")
	case "none":
		fmt.Fprintln(w, "The running server lets nobody do anything without a login, but for what rules say.")
	default:
		fmt.Fprintf(w, "The running server lets everybody %s without a login.\n", map[string]string{"pull": "pull", "push": "push and pull", "admin": "do everything"}[o.level])
	}
	if o.administrator != "" {
		fmt.Fprintf(w, "%s is an administrator. If its password is lost: slipway user passwd %s --data %s\n", o.administrator, o.administrator, s.data)
	}
}

func (s *closing) printPlan(w io.Writer, now *observed, rules []rest.NewRule) {
	fmt.Fprintln(w, "\nTo do now:")
	if len(rules) == 0 && now.administrator != "" {
		fmt.Fprintln(w, "  nothing: the rules that were asked for are there, and there is an administrator")
	}
	for _, r := range rules {
		var actions []string
		for _, a := range r.Actions {
			actions = append(actions, string(a))
		}
		until := ""
		if r.ExpiresAt != nil {
			until = " until " + momentText(r.ExpiresAt)
		}
		fmt.Fprintf(w, "  add a rule: %s may %s in %s%s\n", r.Subject, strings.Join(actions, ","), r.Repositories, until)
		if p, err := netip.ParsePrefix(strings.TrimPrefix(r.Subject, "network:")); err == nil && p.Bits() == 0 {
			fmt.Fprintln(w, "    that is every address: it leaves those repositories open to everybody until then")
		}
	}
	if now.administrator == "" {
		fmt.Fprintf(w, "  make the user %s, an administrator, with a password that is shown once\n", s.admin)
	}
}

// printRest says what only people can do.
func (s *closing) printRest(w io.Writer, before *observed) error {
	level := before.level
	if before.running {
		var err error
		if level, err = s.level(s.cmd.Context()); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "\nLeft to do:")
	n := 0
	step := func(format string, args ...any) {
		n++
		fmt.Fprintf(w, "%2d. %s\n", n, fmt.Sprintf(format, args...))
	}
	if level == "none" && before.level != "none" {
		fmt.Fprintln(w, "    The server asks for logins from now on: it was open only until there was an account.")
	}
	if level != "none" {
		was := ""
		if level != "" {
			was = " in place of --anonymous " + level
		}
		step("Restart the server with --anonymous none%s (anonymous: none in its configuration file, SLIPWAY_ANONYMOUS=none).", was)
	}
	if len(s.networks) > 0 {
		step("Where it is started with --http allow: put --http %s there, so that those networks may go on with plain HTTP as well, and leave it out after the end. All others need TLS.", strings.Join(s.networks, ","))
	} else {
		step("Where it is started with --http allow: leave that out, so that logins do not go over the network for all to read.")
	}
	command := cmp.Or(before.trust.Command, "slipway trust HOST:PORT")
	host, _, _ := strings.Cut(strings.TrimPrefix(command, "slipway trust "), " ")
	step("On each client, once: %s\n    and then: docker login %s", command, host)
	step("For each person: slipway user add NAME --data %s; for each program: slipway robot add and slipway token create;\n    for both what they may: slipway policy add user:NAME pull,push 'team/**' --data %s", s.data, s.data)
	if len(s.networks) > 0 {
		step("Before %s, look who has no login yet: slipway audit --actor anonymous --action push --data %s", s.end.Local().Format(time.DateOnly), s.data)
	}
	return nil
}
