// Package token is Docker's token flow: a client that is refused reads the
// challenge, gets a short-lived access token from the endpoint that it names,
// and comes back with it.
//
//	Challenge  what WWW-Authenticate says
//	Resource   what a scope asks for
//	Keys       the Ed25519 keys, in a file; a new one each week
//	Issuer     makes and verifies access tokens (RFC 7519)
//	Endpoint   GET and POST /token
//
// A token says who it is for and what it was issued for. It is no right: at
// each use the account behind it is looked up as it is then, and the policy
// decides as it is then; what the token was issued for is a limit on top
// (auth.Access). So a user who is disabled is out at the next request, and a
// token that lasts another five minutes changes nothing about that.
//
// The wire format is that of distribution's "Token Authentication
// Specification"; the claims are those of RFC 7519, with "access" as it has it.
package token
