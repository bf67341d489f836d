// Package document holds openapi.yaml, which is written first: the server's code
// is generated from it, the tests check every answer against it, and the service
// serves it. The generator is no dependency of the service: it would make the
// base image slow to build.
package document

import _ "embed"

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml openapi.yaml

//go:embed openapi.yaml
var YAML []byte
