package bake

import (
	"maps"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// maxExpansion bounds what variables add to one word. Beyond it a value counts
// as unknown: a few lines of ENV A=$A$A would otherwise fill the memory.
const maxExpansion = 1 << 20

// environ is what is known of a stage's variables at some instruction.
type environ struct {
	known map[string]string
	// unknown are set to something that cannot be known before the base image is
	// read; in an open environment so is every name that is not set here.
	unknown map[string]bool
	open    bool
}

func newEnviron(open bool) *environ {
	// The builder gives every stage a PATH.
	return &environ{known: map[string]string{}, unknown: map[string]bool{"PATH": true}, open: open}
}

func (e *environ) clone() *environ {
	return &environ{known: maps.Clone(e.known), unknown: maps.Clone(e.unknown), open: e.open}
}

func (e *environ) set(name, value string, known bool) {
	if known {
		e.known[name] = value
		delete(e.unknown, name)
		return
	}
	delete(e.known, name)
	e.unknown[name] = true
}

// expand gives a word's value, and whether it is certain.
func (e *environ) expand(lex *shell.Lex, word string) (value string, certain bool, err error) {
	watch := &watched{environ: e}
	value, _, err = lex.ProcessWord(word, watch)
	if watch.missed {
		return "", false, nil // an error may come from what is missing
	}
	return value, true, err
}

// watched tells whether an expansion needed what is not known.
type watched struct {
	*environ
	given  int
	missed bool
}

func (w *watched) Get(name string) (string, bool) {
	value, ok := w.known[name]
	if !ok {
		w.missed = w.missed || w.open || w.unknown[name]
		return "", false
	}
	if w.given += len(value); w.given > maxExpansion {
		w.missed = true
		return "", false
	}
	return value, true
}

func (w *watched) Keys() []string { return slices.Sorted(maps.Keys(w.known)) }
