package registry

import (
	"fmt"
	"sync"
	"time"

	"slipway/internal/blob"
	"slipway/internal/oci"
)

// space keeps uploads from filling the disk to the brim: the database and
// collection need room to work.
type space struct {
	spacer   blob.Spacer // nil: unlimited
	lowWater uint64

	mu      sync.Mutex
	free    uint64
	checked time.Time
}

const spaceAge = 200 * time.Millisecond // how old the answer of the file system may be

func (s *space) init(store blob.Store, lowWater uint64) {
	if sp, ok := store.(blob.Spacer); ok && lowWater > 0 {
		s.spacer, s.lowWater = sp, lowWater
	}
}

// check returns an INSUFFICIENT_STORAGE error if writing need bytes would
// leave less than the low-water mark.
func (s *space) check(need int64) error { return s.leave(s.lowWater, need) }

// checkManifest lets manifests go on for half of that, so that an image whose
// blobs are here can be finished.
func (s *space) checkManifest(need int64) error { return s.leave(s.lowWater/2, need) }

func (s *space) leave(mark uint64, need int64) error {
	if s.spacer == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) > spaceAge {
		free, _, err := s.spacer.Space()
		if err != nil {
			return fmt.Errorf("ask for free space: %w", err)
		}
		s.free, s.checked = free, time.Now()
	}
	if s.free >= mark && s.free-mark >= uint64(need) {
		return nil
	}
	return oci.NewError(oci.CodeInsufficientSpace, fmt.Sprintf(
		"the registry's disk has %d MiB left, of which %d MiB are kept for its database and clean-up, and this needs %d MiB: delete images and run 'slipway gc', or give it a larger disk",
		s.free>>20, s.lowWater>>20, (need+1<<20-1)>>20))
}
