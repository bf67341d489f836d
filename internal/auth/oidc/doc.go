// Package oidc lets people in who have their login elsewhere (OpenID Connect
// Core 1.0, the authorization code flow), and gives them a token for their
// tools: docker and its like can show a password, and no browser.
//
//	GET /oidc/              the issuers to choose from
//	GET /oidc/NAME/login    sends the browser to the issuer
//	GET /oidc/NAME/callback is where the issuer sends it back to
//
// What a login leaves behind is a user of this server without a password, and a
// personal token that is shown once. Nothing else: there is no session. The
// user's groups are those that the issuer said, replaced at each login. The
// token ends after a while (Config.TokenLife), and so does any other that it
// makes, so that who has left the issuer is out after that time.
//
// A user is bound to the issuer's URL and the subject there, which mean one
// person for ever. The name is only what the user is called here. One that is
// taken already, by a user with a password or from another issuer, is refused:
// nobody becomes somebody else by what they call themselves.
//
// What the browser carries from the first request to the second, it carries in
// a cookie that only this process can read and write: state, nonce and the PKCE
// verifier. So nothing is kept for those who never come back, and who sends
// somebody else to the callback has not got the cookie that belongs to it.
//
// Tokens of CI jobs are another matter; see package workload.
package oidc
