package attest

// The shapes of an in-toto statement v1 with SLSA provenance v1, field by
// field of https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
// and https://slsa.dev/provenance/v1. The types of in-toto's Go modules do not
// fit: one set is deprecated, and the other's JSON differs from run to run on
// purpose (protojson).
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type predicate struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	InternalParameters   map[string]string  `json:"internalParameters,omitempty"`
	ResolvedDependencies []resource         `json:"resolvedDependencies,omitempty"`
}

// externalParameters are what a person chose, as docs/build-type.md says.
type externalParameters struct {
	Source    source            `json:"source"`
	Project   string            `json:"project"`
	Target    string            `json:"target"`
	Platforms []string          `json:"platforms"`
	Args      map[string]string `json:"args,omitempty"`
	Files     []string          `json:"files,omitempty"`
}

type source struct {
	URI string `json:"uri"`
	Ref string `json:"ref,omitempty"`
}

type runDetails struct {
	Builder    builder    `json:"builder"`
	Metadata   metadata   `json:"metadata"`
	Byproducts []resource `json:"byproducts,omitempty"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

type metadata struct {
	InvocationID string `json:"invocationId,omitempty"`
	StartedOn    string `json:"startedOn,omitempty"`
	FinishedOn   string `json:"finishedOn,omitempty"`
}

// resource is a ResourceDescriptor of in-toto.
type resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}
