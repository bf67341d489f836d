package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	"slipway/internal/auth"
	"slipway/internal/db"
	"slipway/internal/oci"
)

// TagKind is what a rule about tags does.
type TagKind string

// The kinds. Several rules may match a tag; each of them has to agree.
const (
	// Protected tags are made, moved and deleted by chosen subjects only, and
	// by administrators.
	Protected TagKind = "protected"
	// Immutable tags are made once and then neither moved nor deleted.
	Immutable TagKind = "immutable"
)

// TagRule is about tags that match Tags in repositories that match
// Repositories. Times are milliseconds since 1970.
type TagRule struct {
	ID            int64
	Kind          TagKind
	Repositories  auth.Glob
	Tags          auth.TagGlob
	Movers        []auth.Subject // of protected tags: who may move them
	AdminOverride bool           // of immutable tags: administrators may, all the same
	Note          string
	Created       int64
	CreatedBy     string
}

// ParseTagRule makes a rule of the texts that people write.
func ParseTagRule(kind, repositories, tags string, movers ...string) (r TagRule, err error) {
	r.Kind = TagKind(kind)
	if r.Kind != Protected && r.Kind != Immutable {
		return r, fmt.Errorf("tag rule %q: use protected or immutable: %w", kind, ErrInvalid)
	}
	if r.Repositories, err = auth.ParseGlob(repositories); err != nil {
		return r, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if r.Tags, err = auth.ParseTagGlob(tags); err != nil {
		return r, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	for _, s := range movers {
		m, err := auth.ParseSubject(s)
		if err != nil {
			return r, fmt.Errorf("%w: %w", err, ErrInvalid)
		}
		r.Movers = append(r.Movers, m)
	}
	return r, nil
}

// String says what the rule does.
func (r TagRule) String() string {
	s := fmt.Sprintf("tags %s in %s are %s", r.Tags, r.Repositories, r.Kind)
	if r.Kind == Protected {
		s += ": they move by " + r.movers()
	}
	return s
}

func (r TagRule) movers() string {
	s := "administrators"
	for _, m := range r.Movers {
		s += ", " + m.String()
	}
	return s
}

// AddTagRule stores a rule and returns it with its id.
func AddTagRule(tx *db.Tx, r TagRule) (TagRule, error) {
	switch {
	case r.Kind == "" || r.Tags.String() == "" || r.Repositories.String() == "":
		return r, fmt.Errorf("add tag rule: it needs a kind, repositories and tags: %w", ErrInvalid)
	case r.Kind == Immutable && len(r.Movers) > 0:
		return r, fmt.Errorf("add tag rule: nobody moves immutable tags, so it names no movers: use protected to choose who may: %w", ErrInvalid)
	case r.Kind == Protected && r.AdminOverride:
		return r, fmt.Errorf("add tag rule: administrators may move protected tags in any case: %w", ErrInvalid)
	}
	if err := checkNote(r.Note); err != nil {
		return r, fmt.Errorf("add tag rule: %w", err)
	}
	movers := []string{}
	for _, m := range r.Movers {
		movers = append(movers, m.String())
	}
	list, err := json.Marshal(movers)
	if err != nil {
		return r, err
	}
	override := 0
	if r.AdminOverride {
		override = 1
	}
	r.Created = tx.Now()
	if _, err := tx.Row(`INSERT INTO tag_rules (kind, repositories, tags, movers, admin_override, note, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		[]any{r.Kind, r.Repositories.String(), r.Tags.String(), string(list), override, r.Note, r.Created, r.CreatedBy}, &r.ID); err != nil {
		return r, err
	}
	return r, auth.Touch(tx)
}

// RemoveTagRule removes a rule and returns it.
func RemoveTagRule(tx *db.Tx, id int64) (TagRule, error) {
	list, err := tagRules(tx, tagColumns+`WHERE id = ?`, id)
	if err != nil {
		return TagRule{}, err
	}
	if len(list) == 0 {
		return TagRule{}, fmt.Errorf("tag rule %d: %w", id, ErrNotFound)
	}
	if _, err := tx.Exec(`DELETE FROM tag_rules WHERE id = ?`, id); err != nil {
		return TagRule{}, err
	}
	return list[0], auth.Touch(tx)
}

const tagColumns = `SELECT id, kind, repositories, tags, movers, admin_override, note, created_at, created_by FROM tag_rules `

// TagRules lists all rules about tags by id.
func TagRules(tx *db.Tx) ([]TagRule, error) { return tagRules(tx, tagColumns+`ORDER BY id`) }

func tagRules(tx *db.Tx, query string, args ...any) (list []TagRule, err error) {
	err = tx.Each(query, args, func(scan func(...any) error) error {
		var id, created int64
		var override int
		var kind, repositories, tags, movers, note, by string
		if err := scan(&id, &kind, &repositories, &tags, &movers, &override, &note, &created, &by); err != nil {
			return err
		}
		var subjects []string
		if err := json.Unmarshal([]byte(movers), &subjects); err != nil {
			return fmt.Errorf("tag rule %d: %w", id, err)
		}
		r, err := ParseTagRule(kind, repositories, tags, subjects...)
		if err != nil {
			return fmt.Errorf("tag rule %d: %w", id, err)
		}
		r.ID, r.AdminOverride, r.Note, r.Created, r.CreatedBy = id, override != 0, note, created, by
		list = append(list, r)
		return nil
	})
	return list, err
}

// Move is the change of a tag, as meta.Move has it, with who makes it. An empty
// digest stands for "no tag"; an empty tag for the deletion of a manifest that
// has none, which no rule is about.
type Move struct {
	Repository, Tag string
	Old, New        string
	By              auth.Identity
}

// CheckMove returns a DENIED *oci.Error if a rule about tags keeps the move
// back. It is made for a guard: it runs in the transaction of the move and sees
// the rules as they are in it.
func (p *Policy) CheckMove(tx *db.Tx, m Move) error {
	if m.Tag == "" || m.Old == m.New {
		return nil
	}
	rules, err := p.tagRulesIn(tx)
	if err != nil {
		return fmt.Errorf("read the rules about tags: %w", err)
	}
	for _, r := range rules {
		if !r.Repositories.Match(m.Repository) || !r.Tags.Match(m.Tag) {
			continue
		}
		if err := r.check(m); err != nil {
			return err
		}
	}
	return nil
}

func (r TagRule) check(m Move) error {
	admin := m.By.IsAdmin()
	switch r.Kind {
	case Protected:
		if admin || slices.ContainsFunc(r.Movers, func(s auth.Subject) bool { return s.Match(m.By) }) {
			return nil
		}
		return oci.NewError(oci.CodeDenied, fmt.Sprintf("tag %s of %s is protected: only %s may move it, and this is %s (tag rule %d); push under another tag, or ask one of them",
			m.Tag, m.Repository, r.movers(), m.By.Actor(), r.ID))
	case Immutable:
		if m.Old == "" || (admin && r.AdminOverride) {
			return nil
		}
		verb := "moved"
		if m.New == "" {
			verb = "deleted"
		}
		return oci.NewError(oci.CodeDenied, fmt.Sprintf("tag %s of %s is immutable and is not %s (tag rule %d); it stays %s: use another tag", m.Tag, m.Repository, verb, r.ID, m.Old))
	}
	return fmt.Errorf("tag rule %d is of kind %q, which this program does not know", r.ID, r.Kind)
}

// tagRulesIn are the rules as tx sees them: those in memory if they are of its
// generation. Others are not kept, since tx may be undone.
func (p *Policy) tagRulesIn(tx *db.Tx) ([]TagRule, error) {
	g, err := auth.StoredGeneration(tx)
	if err != nil {
		return nil, err
	}
	if c := p.compiled.Load(); c != nil && c.generation == g {
		return c.tags, nil
	}
	return TagRules(tx)
}
