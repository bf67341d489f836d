// Package policy decides: may this identity do this action in this repository?
// There is one place for it, Policy.Decide, and the registry, the API, the
// console and git all ask there.
//
// A rule names a subject, repositories and actions, and allows them. What no
// rule allows is refused. There are no rules that deny: with allowing rules
// only, their order never matters, adding one never takes a right away, and the
// answer to "why may anna push here?" is one rule and not the interplay of all.
// To keep somebody out of a part, name the others and not the part.
//
// In this order, a decision asks for
//
//  1. the local administrator and Slipway itself, who may do everything;
//  2. the limits of the token in hand: what the access token was issued for,
//     and the scopes of the personal or robot token behind it;
//  3. membership of the group admins, which may do everything;
//  4. the rules, by id: the first that allows is the reason that is given;
//  5. the anonymous level (auth.Anonymous), a setting that acts as one more rule
//     for everybody;
//  6. grace: rules for a network, until a date. They come last so that their use
//     is told from that of a right that lasts; each use is to be written into
//     the audit log (Decision.Grace).
//
// Ping and List read nothing of a repository. Whoever may do anything anywhere
// may list, and sees what they may pull (Visible). Ping is for everybody, except
// that a caller without a login is asked for one where there are accounts: a
// client that was not asked never sends what it has.
//
// Rules about tags are another matter. They do not ask who may push, but which
// tags move, and hold for those who may push: a protected tag moves only by
// chosen hands, an immutable one not at all (Policy.CheckMove).
package policy
