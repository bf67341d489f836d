package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"slipway/internal/pipeline"
)

// Limits on what is read of a test's file system, which is not trusted.
const (
	maxReport      = 16 << 20
	maxReports     = 200
	maxReportBytes = 64 << 20
)

// files is a file system in the builder: of a result, or of a failed step.
type files interface {
	readDir(ctx context.Context, dir string) ([]*fstypes.Stat, error)
	readFile(ctx context.Context, name string, size int) ([]byte, error)
	stat(ctx context.Context, name string) (*fstypes.Stat, error)
}

type reference struct{ gateway.Reference }

func (r reference) readDir(ctx context.Context, dir string) ([]*fstypes.Stat, error) {
	return r.ReadDir(ctx, gateway.ReadDirRequest{Path: dir})
}

func (r reference) readFile(ctx context.Context, name string, size int) ([]byte, error) {
	return r.ReadFile(ctx, gateway.ReadRequest{Filename: name, Range: &gateway.FileRange{Length: size}})
}

func (r reference) stat(ctx context.Context, name string) (*fstypes.Stat, error) {
	return r.StatFile(ctx, gateway.StatRequest{Path: name})
}

type container struct{ gateway.Container }

func (c container) readDir(ctx context.Context, dir string) ([]*fstypes.Stat, error) {
	return c.ReadDir(ctx, gateway.ReadDirContainerRequest{ReadDirRequest: gateway.ReadDirRequest{Path: dir}})
}

func (c container) readFile(ctx context.Context, name string, size int) ([]byte, error) {
	return c.ReadFile(ctx, gateway.ReadContainerRequest{ReadRequest: gateway.ReadRequest{Filename: name, Range: &gateway.FileRange{Length: size}}})
}

func (c container) stat(ctx context.Context, name string) (*fstypes.Stat, error) {
	return c.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: name}})
}

// readReports reads the files that match the patterns. A pattern that is not
// absolute is taken from dir. A folder stands for what is directly in it.
func readReports(ctx context.Context, f files, dir string, patterns []string) (list []pipeline.Report, err error) {
	seen, total := map[string]bool{}, int64(0)
	for _, pattern := range patterns {
		if !path.IsAbs(pattern) {
			pattern = path.Join("/", dir, pattern)
		}
		pattern = path.Clean(pattern)
		in, base := path.Split(pattern)
		if strings.ContainsAny(in, "*?[") {
			return nil, fmt.Errorf("report %s: only the last part of a path may have wildcards", pattern)
		}
		if st, err := f.stat(ctx, pattern); err == nil && st.IsDir() {
			in, base = pattern, "*"
		}
		entries, err := f.readDir(ctx, in)
		if err != nil {
			continue // a test that leaves no such folder leaves no report
		}
		for _, e := range entries {
			name := path.Join(in, path.Base(e.Path))
			if ok, err := path.Match(base, path.Base(e.Path)); err != nil || !ok || e.IsDir() || e.Linkname != "" || seen[name] {
				continue
			}
			if e.Size > maxReport || total+e.Size > maxReportBytes || len(list) == maxReports {
				return list, fmt.Errorf("reports: %s is more than is kept (%d MiB a file, %d MiB and %d files together)", name, maxReport>>20, maxReportBytes>>20, maxReports)
			}
			seen[name] = true
			total += e.Size
			content, err := f.readFile(ctx, name, int(e.Size))
			if err != nil {
				return list, fmt.Errorf("read report %s: %w", name, err)
			}
			list = append(list, pipeline.Report{Path: name, Content: content})
		}
	}
	return list, nil
}

// workingDir is the working folder of a result's image.
func workingDir(result *gateway.Result) string {
	var image ocispec.Image
	if err := json.Unmarshal(result.Metadata[exptypes.ExporterImageConfigKey], &image); err != nil {
		return "/"
	}
	return image.Config.WorkingDir
}

// failedReports reads the reports of a step that failed, from the file system
// as the step left it. There may be none, and that is no further error.
func failedReports(ctx context.Context, c gateway.Client, failure error, patterns []string) []pipeline.Report {
	var solve *errdefs.SolveError
	if len(patterns) == 0 || !errors.As(failure, &solve) || solve.Solve == nil || solve.Op == nil {
		return nil
	}
	exec, ok := solve.Op.Op.(*pb.Op_Exec)
	if !ok {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	var mounts []gateway.Mount
	for i, m := range exec.Exec.Mounts {
		if m.Dest == "/" && i < len(solve.MountIDs) {
			mounts = append(mounts, gateway.Mount{Dest: "/", MountType: pb.MountType_BIND, ResultID: solve.MountIDs[i]})
		}
	}
	if len(mounts) == 0 {
		return nil
	}
	ctr, err := c.NewContainer(ctx, gateway.NewContainerRequest{Mounts: mounts, NetMode: pb.NetMode_NONE})
	if err != nil {
		return nil
	}
	defer func() { _ = ctr.Release(ctx) }() // the session's end releases it too
	dir := "/"
	if exec.Exec.Meta != nil {
		dir = exec.Exec.Meta.Cwd
	}
	list, _ := readReports(ctx, container{ctr}, dir, patterns) // what could be read is kept
	return list
}
