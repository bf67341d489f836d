// Package document holds openapi.yaml, which is written first: the server's code
// is generated from it, the tests check every answer against it, and the service
// serves it.
package document

import _ "embed"

//go:generate go tool oapi-codegen -config oapi-codegen.yaml openapi.yaml

//go:embed openapi.yaml
var YAML []byte
