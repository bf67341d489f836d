package remote

import (
	"context"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// History is how an image came to be, newest step first.
type History struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // of the image, not of an index it stands in
	Platform  string `json:"platform"`
	Steps     []Step `json:"steps"`
}

// Step is one entry of an image's history.
type Step struct {
	Created   *time.Time `json:"created,omitempty"`
	CreatedBy string     `json:"createdBy"` // the instruction
	Comment   string     `json:"comment,omitempty"`
	Empty     bool       `json:"emptyLayer"`      // it made no layer
	Layer     string     `json:"layer,omitempty"` // digest
	Size      int64      `json:"size"`            // of the layer as stored
}

// History reads the history of ref. Of an index it takes the asked-for
// platform, else its only image, else the one for this machine.
func (c *Client) History(ctx context.Context, ref, platform string) (*History, error) {
	return look(ctx, c, "history", ref, platform, c.history)
}

func (c *Client) history(ctx context.Context, r name.Reference, want *v1.Platform) (*History, error) {
	root, err := c.manifest(ctx, r)
	if err != nil {
		return nil, err
	}
	m, err := c.single(ctx, r.Context(), root, want)
	if err != nil {
		return nil, err
	}
	cfg, err := c.config(ctx, r.Context(), m)
	if err != nil {
		return nil, err
	}
	return &History{Reference: refText(r), Digest: m.desc.Digest.String(), Platform: platformText(cfg.Platform()), Steps: steps(cfg, m.Layers)}, nil
}

// steps pairs history entries with layers. An image whose history tells of
// fewer layers than it has gets an unnamed step for each of the others.
func steps(cfg *v1.ConfigFile, layers []v1.Descriptor) []Step {
	all := []Step{}
	for _, h := range cfg.History {
		s := Step{CreatedBy: h.CreatedBy, Comment: h.Comment, Empty: h.EmptyLayer}
		if !h.Created.IsZero() {
			s.Created = &h.Created.Time
		}
		if !h.EmptyLayer && len(layers) > 0 {
			s.Layer, s.Size = layers[0].Digest.String(), layers[0].Size
			layers = layers[1:]
		}
		all = append(all, s)
	}
	for _, l := range layers {
		all = append(all, Step{Layer: l.Digest.String(), Size: l.Size})
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}
