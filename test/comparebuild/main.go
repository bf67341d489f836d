// Comparebuild measures builds beside what they replace, on one machine and in
// one run: the way of a build script (a checksum of the files, docker build,
// docker tag, docker push to docker-registry) and BuildKit's own client on the
// same daemon. It needs root, Debian's docker.io and docker-registry, and the
// programs that make build makes.
//
//	go run ./test/comparebuild [-rounds 5] [-out docs/performance.md]
//
// Every round gives all of them the same new content, one after the other, each
// round beginning with another one. Ratios are taken within a round.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds of each measurement")
	files := flag.Int("files", 10_000, "files of the large context")
	out := flag.String("out", "", "document whose part between the comparebuild marks is replaced; default: standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *files, *out); err != nil {
		fmt.Fprintln(os.Stderr, "comparebuild:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, files int, out string) (err error) {
	dir, err := os.MkdirTemp("", "slipway-comparebuild-")
	if err != nil {
		return err
	}
	m := &machinery{dir: dir}
	defer func() {
		m.stop()
		_ = os.RemoveAll(dir) // what is left is in the temporary folder
	}()
	if err := m.start(ctx); err != nil {
		return err
	}
	r := &results{}
	for _, step := range []func(context.Context, *machinery, int) error{
		r.sideBySide,
		r.overhead,
		func(ctx context.Context, m *machinery, rounds int) error { return r.large(ctx, m, rounds, files) },
	} {
		if err := step(ctx, m, rounds); err != nil {
			return err
		}
	}
	text := r.markdown(rounds, files)
	if out == "" {
		fmt.Print(text)
		return nil
	}
	doc, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	const begin, end = "<!-- comparebuild:begin -->", "<!-- comparebuild:end -->"
	before, rest, ok := strings.Cut(string(doc), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no %s … %s", out, begin, end)
	}
	return os.WriteFile(filepath.Clean(out), []byte(before+begin+"\n"+text+end+after), 0o644)
}
