package auth

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// SubjectKind is how a subject chooses callers.
type SubjectKind string

// The kinds of subjects.
const (
	SubjectAnyone        SubjectKind = "anyone"        // everybody, with a login or without
	SubjectAuthenticated SubjectKind = "authenticated" // everybody with an account here
	SubjectUser          SubjectKind = "user"
	SubjectGroup         SubjectKind = "group"
	SubjectRobot         SubjectKind = "robot"
	SubjectWorkload      SubjectKind = "workload" // by claims of the workload's token
	SubjectNetwork       SubjectKind = "network"  // by the caller's address
)

// Subject is whom a rule is about:
//
//	anyone, authenticated
//	user:anna, group:dev, robot:ci
//	workload:issuer=github,repository=org/app,ref=refs/heads/*
//	network:10.1.0.0/16, network:10.1.2.3
//
// Every claim of a workload must match; * stands for any characters. The issuer
// must be among them, by its exact name: what a claim means is up to who makes
// it.
type Subject struct {
	Kind    SubjectKind
	Name    string
	claims  []claim
	network netip.Prefix
}

type claim struct{ name, pattern string }

// ClaimIssuer is the claim of a workload that has the name of its issuer. It is
// set by who verifies its token.
const ClaimIssuer = "issuer"

// ParseSubject reads a subject.
func ParseSubject(s string) (Subject, error) {
	before, value, has := strings.Cut(s, ":")
	sub := Subject{Kind: SubjectKind(before), Name: value}
	var err error
	switch sub.Kind {
	case SubjectAnyone, SubjectAuthenticated:
		if has {
			err = fmt.Errorf("nothing may follow %s", before)
		}
	case SubjectUser, SubjectRobot:
		err = CheckName(value)
	case SubjectGroup:
		err = CheckGroup(value)
	case SubjectWorkload:
		sub.claims, err = parseClaims(value)
	case SubjectNetwork:
		if sub.network, err = parseNetwork(value); err == nil {
			sub.Name = sub.network.String()
		}
	default:
		err = fmt.Errorf("use user:NAME, group:NAME, robot:NAME, workload:CLAIM=VALUE, network:ADDRESS/BITS, authenticated or anyone")
	}
	if err != nil {
		return Subject{}, fmt.Errorf("subject %.300q: %w", s, err)
	}
	return sub, nil
}

func parseClaims(s string) (list []claim, err error) {
	for pair := range strings.SplitSeq(s, ",") {
		name, pattern, has := strings.Cut(pair, "=")
		if !has || name == "" || pattern == "" || strings.ContainsFunc(pair, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("%.100q is not CLAIM=VALUE", pair)
		}
		list = append(list, claim{name, pattern})
	}
	if !slices.ContainsFunc(list, func(c claim) bool { return c.name == ClaimIssuer && !strings.Contains(c.pattern, "*") }) {
		return nil, fmt.Errorf("it does not say by whom: begin with %s=NAME, the issuer of the workload's token", ClaimIssuer)
	}
	return list, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%.60q is not a network such as 10.1.0.0/16 or fd00::/8", s)
	}
	return p.Masked(), nil
}

// String is the form that ParseSubject reads.
func (s Subject) String() string {
	if s.Name == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + ":" + s.Name
}

// Match reports whether the subject includes the caller. The zero Subject
// includes nobody.
func (s Subject) Match(i Identity) bool {
	switch s.Kind {
	case SubjectAnyone:
		return true
	case SubjectAuthenticated:
		// Not workloads: the issuer of GitHub, for one, vouches for the jobs of
		// everybody there is.
		return i.Kind == KindUser || i.Kind == KindRobot
	case SubjectUser:
		return i.Kind == KindUser && i.Name == s.Name
	case SubjectRobot:
		return i.Kind == KindRobot && i.Name == s.Name
	case SubjectGroup:
		return !i.IsAnonymous() && slices.Contains(i.Groups, s.Name)
	case SubjectWorkload:
		return i.Kind == KindWorkload && len(s.claims) > 0 && !slices.ContainsFunc(s.claims, func(c claim) bool {
			value, has := i.Claims[c.name]
			return !has || !matchPart(c.pattern, value)
		})
	case SubjectNetwork:
		return i.Address.IsValid() && s.network.IsValid() && s.network.Contains(i.Address.Unmap().WithZone(""))
	}
	return false
}
