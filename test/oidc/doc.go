// Package oidc checks logins by OpenID Connect at a running server: real clients
// push as CI jobs do, with the token of the job and no secret, and a person logs
// in with a browser and then with docker's kind of client. The issuer is one of
// the test's own, over HTTPS.
package oidc
