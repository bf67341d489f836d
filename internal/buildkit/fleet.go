package buildkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"slipway/internal/pipeline"
)

// Fleet is several builders as one. Each platform is built where it is native
// if it is native anywhere, so that an amd64 and an arm64 machine together make
// an index without emulation.
type Fleet struct {
	solvers []*Solver

	mu        sync.Mutex
	platforms map[*Solver][]string
}

var _ pipeline.Solver = (*Fleet)(nil)

// NewFleet joins builders. The order decides between equals.
func NewFleet(solvers ...*Solver) *Fleet {
	return &Fleet{solvers: solvers, platforms: map[*Solver][]string{}}
}

// Platforms implements pipeline.Solver.
func (f *Fleet) Platforms(ctx context.Context) (all []string, err error) {
	for _, s := range f.solvers {
		list, e := f.of(ctx, s)
		err = errors.Join(err, e)
		for _, p := range list {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

// of asks a builder once for what it builds. One that does not answer is asked
// again next time.
func (f *Fleet) of(ctx context.Context, s *Solver) ([]string, error) {
	f.mu.Lock()
	list, known := f.platforms[s]
	f.mu.Unlock()
	if known {
		return list, nil
	}
	list, err := s.Platforms(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.platforms[s] = list
	return list, nil
}

// Solve implements pipeline.Solver.
func (f *Fleet) Solve(ctx context.Context, t pipeline.Solve, p pipeline.Progress) (pipeline.Solved, error) {
	s, err := f.choose(ctx, t.Platform)
	if err != nil {
		return pipeline.Solved{}, err
	}
	return s.Solve(ctx, t, p)
}

// BuildPlatform is the native platform of the builder of a platform.
func (f *Fleet) BuildPlatform(ctx context.Context, platform string) (string, error) {
	s, err := f.choose(ctx, platform)
	if err != nil {
		return "", err
	}
	list, err := f.of(ctx, s)
	if err != nil {
		return "", err
	}
	return list[0], nil
}

// choose finds the builder of a platform: the first for which it is native,
// else the first that emulates it.
func (f *Fleet) choose(ctx context.Context, platform string) (*Solver, error) {
	var emulates *Solver
	var has []string
	var failed error
	for _, s := range f.solvers {
		list, err := f.of(ctx, s)
		failed = errors.Join(failed, err)
		switch {
		case len(list) > 0 && list[0] == platform:
			return s, nil
		case emulates == nil && slices.Contains(list, platform):
			emulates = s
		}
		for _, p := range list {
			// "linux/amd64/v2" is no news beside "linux/amd64".
			if !slices.Contains(has, p) && !strings.HasPrefix(p, "linux/amd64/") {
				has = append(has, p)
			}
		}
	}
	switch {
	case emulates != nil:
		return emulates, nil
	case len(has) == 0:
		return nil, failed
	}
	_, arch, _ := strings.Cut(platform, "/")
	arch, _, _ = strings.Cut(arch, "/")
	if name, ok := emulators[arch]; ok {
		arch = name
	}
	return nil, &pipeline.NoBuilderError{Err: fmt.Errorf("nothing here builds %s, only %s: install an emulator (qemu-%s, on Debian the packages qemu-user-static and binfmt-support), or add a builder of that platform to build.builder", platform, strings.Join(has, ", "), arch)}
}

// emulators are the names that QEMU has for architectures.
var emulators = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i386", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64", "arm": "arm", "loong64": "loongarch64", "mips64le": "mips64el"}
