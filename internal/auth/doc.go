// Package auth has the words in which Slipway speaks of access, and the
// packages below it the work:
//
//	auth          Action, Identity, Scope, Glob, Subject, Anonymous
//	auth/account  users, robots and their secrets, in the database and in an htpasswd file
//	auth/login    who calls: from an Authorization header and an address to an Identity
//	auth/workload the same for jobs of CI systems, by the tokens that those sign
//	auth/oidc     people who have their login elsewhere, and get a token for their tools
//	auth/policy   what they may do: rules over subjects, repositories and actions
//	auth/token    Docker's token flow: short-lived signed tokens, and the challenges for them
//
// A request has three parts, in this order. Login says who calls, and knows
// nothing of what they may do. Policy decides from the identity, the action and
// the repository, in one place, for the registry, the API, the console and git.
// What a token adds is a limit, never a right: its scopes travel in the
// Identity, and a decision needs the policy and every limit to agree, at the
// time of use.
//
// All that a decision depends on lies in the database under one counter, the
// generation. It moves with every change of an account, a secret or a rule, so
// that what is kept in memory is dropped at the next request (Generation).
package auth
