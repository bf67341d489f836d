package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/attest"
	"slipway/internal/oci"
)

// solve has a node built, and records the result.
func (r *run) solve(ctx context.Context, n *node, p *plan) error {
	if r.Solver == nil {
		return failure(KindBuilder, &NoBuilderError{errors.New("the setting build.builder is none")})
	}
	if err := r.neededSecrets(n, p); err != nil {
		return failure(KindProject, err)
	}
	if n.forced != "" {
		p.solve.NoCache = true
	}
	if !n.test {
		p.solve.Repository = builds(r.req.Project, r.req.Trust)
	}
	if p.solve.Epoch.IsZero() && r.req.Source.Changed != nil {
		p.solve.Epoch = r.req.Source.Changed(ctx, p.paths)
	}
	select {
	case r.solving <- struct{}{}:
		defer func() { <-r.solving }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	began := r.DB.Now()
	progress := r.log.progress(n.key)
	solved, err := r.Solver.Solve(ctx, p.solve, progress)
	progress.end()
	if err != nil {
		return r.solveFailed(ctx, n, err)
	}
	r.log.Linef(n.key, "%d steps, %d of them cached, %.1f s", solved.Steps, solved.Cached, r.DB.Now().Sub(began).Seconds())
	made := result{trust: r.req.Trust, target: n.target.Name, platform: n.platform, inputs: p.digest, number: r.outcome.Number, builtAt: r.DB.Now().UTC()}
	if n.test {
		if err := r.judge(n, solved.Reports); err != nil {
			return failure(KindTest, err)
		}
	} else {
		made.manifest = solved.Manifest
		if err := r.Store.Pin(ctx, holder(r.outcome.Run), pinTime, made.manifest); err != nil {
			return failure(KindInternal, err)
		}
		if made.provenance, err = r.attest(ctx, n, p, made, began); err != nil {
			return failure(KindInternal, fmt.Errorf("provenance of %s: %w", n.key, err))
		}
		r.log.Linef(n.key, "built image %s", made.manifest)
	}
	if made.listing, err = r.keepInputs(ctx, p, made); err != nil {
		return failure(KindInternal, err)
	}
	r.take(n, made, builds(r.req.Project, r.req.Trust))
	// Recorded at once: what a later target's failure costs is not this one.
	return r.keep(ctx, r.req.Project, made)
}

func (r *run) solveFailed(ctx context.Context, n *node, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var step *StepError
	if !n.test {
		return failure(KindBuild, err)
	}
	if errors.As(err, &step) && len(step.Reports) > 0 {
		if judged := r.judge(n, step.Reports); judged != nil {
			r.log.Linef(n.key, "%v", judged)
		}
	}
	return failure(KindTest, err)
}

// neededSecrets hands over the secrets that a target names.
func (r *run) neededSecrets(n *node, p *plan) error {
	p.solve.Secrets = map[string][]byte{}
	for _, s := range n.target.Secrets {
		value, ok := r.secrets[s.ID]
		if !ok {
			from := "env=" + s.Env
			if s.Env == "" {
				from = "src=FILE"
			}
			return fmt.Errorf("%starget %s needs secret %s: give it with --secret id=%s,%s", at(n.target.Position), n.target.Name, s.ID, s.ID, from)
		}
		p.solve.Secrets[s.ID] = value
	}
	p.solve.SSH = map[string][]string{}
	for _, s := range n.target.SSH {
		paths, ok := r.req.SSH[s.ID]
		if !ok {
			return fmt.Errorf("%starget %s needs ssh %s: give it with --ssh %s", at(n.target.Position), n.target.Name, s.ID, s.ID)
		}
		p.solve.SSH[s.ID] = paths
	}
	return nil
}

// keepInputs stores the list of inputs: as a referrer of the image, or, of a
// test, by itself.
func (r *run) keepInputs(ctx context.Context, p *plan, made result) (oci.Digest, error) {
	repository := builds(r.req.Project, r.req.Trust)
	return r.keepDocument(ctx, repository, made.manifest, attest.MediaTypeInputs, nil,
		document{attest.MediaTypeInputs, "inputs.json", p.document})
}

// document is a blob of an artifact.
type document struct {
	mediaType, name string
	content         []byte
}

// keepDocument stores documents as an artifact, which is a referrer if it has
// a subject.
func (r *run) keepDocument(ctx context.Context, repository string, subject oci.Digest, artifactType string, annotations map[string]string, docs ...document) (oci.Digest, error) {
	o := attest.ArtifactOptions{ArtifactType: artifactType, Annotations: annotations}
	if subject != "" {
		mediaType, content, err := r.Store.Manifest(ctx, repository, subject)
		if err != nil {
			return "", err
		}
		o.Subject = v1.Descriptor{MediaType: mediaType, Digest: subject, Size: int64(len(content))}
	}
	put := func(content []byte) (oci.Digest, error) {
		d := oci.FromBytes(oci.SHA256, content)
		return d, r.Store.PutBlob(ctx, repository, d, bytes.NewReader(content))
	}
	if _, err := put(v1.DescriptorEmptyJSON.Data); err != nil {
		return "", err
	}
	for _, doc := range docs {
		d, err := put(doc.content)
		if err != nil {
			return "", err
		}
		o.Layers = append(o.Layers, v1.Descriptor{MediaType: doc.mediaType, Digest: d, Size: int64(len(doc.content)),
			Annotations: map[string]string{v1.AnnotationTitle: doc.name}})
	}
	d, err := r.Store.PutManifest(ctx, repository, v1.MediaTypeImageManifest, attest.Artifact(o))
	if err != nil {
		return "", err
	}
	return d, r.Store.Pin(ctx, holder(r.outcome.Run), pinTime, d)
}

// readInputs reads the input list of a result.
func (r *run) readInputs(ctx context.Context, of result) (*Inputs, error) {
	repository := builds(r.req.Project, of.trust)
	_, content, err := r.Store.Manifest(ctx, repository, of.listing)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, err
	}
	if len(m.Layers) != 1 {
		return nil, fmt.Errorf("input list %s has %d layers", of.listing, len(m.Layers))
	}
	blob, err := r.Store.OpenBlob(ctx, repository, m.Layers[0].Digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = blob.Close() }() // it was only read
	raw, err := io.ReadAll(blob)
	if err != nil {
		return nil, err
	}
	var in Inputs
	return &in, json.Unmarshal(raw, &in)
}

// attest stores the provenance of an image.
func (r *run) attest(ctx context.Context, n *node, p *plan, made result, began time.Time) (oci.Digest, error) {
	b := attest.Build{
		Subjects:  []attest.Subject{{Name: r.subjectName(n), Digest: made.manifest}},
		Source:    attest.Source{URI: r.req.Source.URI, Ref: r.req.Source.Ref, Commit: r.req.Source.Commit},
		Project:   r.req.Project,
		Target:    n.target.Name,
		Platforms: []string{n.platform},
		Args:      p.solve.Args,
		Files:     r.project.Files,
		Builder:   attest.Builder{ID: r.ID, Version: map[string]string{"slipway": r.Version, "builder": r.Builder}},
		Internal:  map[string]string{"inputDigest": p.digest.String()},

		Invocation: fmt.Sprintf("%s/%d", r.req.Project, r.outcome.Number),
		Started:    began, Finished: made.builtAt,
		Byproducts: []attest.Byproduct{{Name: "inputs", MediaType: attest.MediaTypeInputs, Digest: p.digest}},
	}
	if s := r.req.Source; s.Dirty || s.Claimed {
		// Other files than the commit's may have been built.
		if b.Source = (attest.Source{}); s.Commit != "" {
			b.Internal["claimedCommit"] = s.Commit
		}
	}
	if b.Source.URI == "" {
		b.Source.URI = "urn:slipway:folder:" + r.req.Project // sent by a client, or on this machine
	}
	for _, s := range p.solve.Secrets {
		b.Secrets = append(b.Secrets, s)
	}
	for _, base := range p.bases {
		a := attest.Base{Reference: base.name, Digest: base.Digest, Platform: base.platform, Origin: attest.Local}
		if base.From == FromMirror {
			a.Origin = attest.Mirror
			a.Upstream, _, _ = strings.Cut(base.Repository, "/")
		}
		b.Bases = append(b.Bases, a)
	}
	statement, err := attest.Statement(b)
	if err != nil {
		return "", err
	}
	return r.keepDocument(ctx, builds(r.req.Project, r.req.Trust), made.manifest, attest.MediaTypeProvenance,
		map[string]string{attest.AnnotationPredicateType: attest.PredicateType},
		document{attest.MediaTypeProvenance, "provenance.json", statement})
}

// subjectName is what an image is called in its provenance.
func (r *run) subjectName(n *node) string {
	for _, t := range r.tags[n.target.Name] {
		return t.repository
	}
	return r.req.Project + "/" + n.target.Name
}
