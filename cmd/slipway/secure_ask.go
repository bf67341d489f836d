//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// graceDays is what is proposed for the end of grace.
const graceDays = 30

// ask asks a person for what no flag says, and proposes what was seen.
func (s *closing) ask(now *observed) error {
	changed := s.cmd.Flags().Changed
	var err error
	if !changed("grace-network") {
		if s.networks, err = s.list("Networks that may go on pushing without a login for a while, such as 10.0.0.0/8", now.strangers()); err != nil {
			return err
		}
	}
	if len(s.networks) > 0 {
		if !changed("grace-repositories") {
			if s.graceRepos, err = s.list("To which repositories, such as team/**", now.places()); err != nil {
				return err
			}
			if len(s.graceRepos) == 0 {
				s.networks = nil
			}
		}
		if s.until == "" && len(s.networks) > 0 {
			if s.until, err = s.line("Until which day", time.Now().AddDate(0, 0, graceDays).Format(time.DateOnly)); err != nil {
				return err
			}
		}
	}
	if !changed("keep-pull") {
		if s.keepPull, err = s.list("Repositories that everybody may go on pulling from, for good, such as public/**", nil); err != nil {
			return err
		}
	}
	in := s.in
	s.in = nil // what is missing now is an error
	err = s.check()
	s.in = in
	return err
}

// line asks for one answer. An empty one is what is proposed, and - is none.
func (s *closing) line(question, proposal string) (string, error) {
	hint := "none"
	if proposal != "" {
		hint = proposal + "; - for none"
	}
	fmt.Fprintf(s.cmd.ErrOrStderr(), "%s? [%s] ", question, hint)
	answer, err := s.in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || answer == "") {
		return "", fmt.Errorf("read an answer: %w; nothing was changed", err)
	}
	switch answer = strings.TrimSpace(answer); answer {
	case "":
		return proposal, nil
	case "-":
		return "", nil
	}
	return answer, nil
}

// list asks for an answer with any number of parts.
func (s *closing) list(question string, proposal []string) ([]string, error) {
	answer, err := s.line(question, strings.Join(proposal, ","))
	return strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' }), err
}

func (s *closing) confirm(question string) (bool, error) {
	fmt.Fprintf(s.cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := s.in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// maxProposal is how many networks or globs are proposed, at most.
const maxProposal = 8

// strangers are the addresses from which was pushed without a login.
func (o *observed) strangers() (list []string) {
	for _, p := range o.pushers {
		if _, err := netip.ParseAddr(p.address); err == nil && p.anonymous() && len(list) < maxProposal {
			list = append(list, p.address)
		}
	}
	return list
}

// places are globs for the repositories that were pushed to without a login.
func (o *observed) places() (list []string) {
	seen := map[string]bool{}
	for _, p := range o.pushers {
		if !p.anonymous() {
			continue
		}
		for _, name := range p.sorted() {
			if first, _, has := strings.Cut(name, "/"); has {
				name = first + "/**"
			}
			if !seen[name] && len(list) < maxProposal {
				seen[name] = true
				list = append(list, name)
			}
		}
	}
	return list
}
