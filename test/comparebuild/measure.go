package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The project: a base that is slow and rarely changes, an app that changes all
// day. Both do some honest work in RUN.
const (
	baseDockerfile = "FROM busybox\nCOPY packages /packages\nRUN sha256sum /packages > /sums && seq 1 400000 | gzip > /list.gz\n"
	appDockerfile  = "FROM base\nCOPY src /src\nRUN find /src -type f | sort | xargs cat | sha256sum > /app && seq 1 200000 | sha256sum >> /app\nCMD [\"cat\", \"/app\"]\n"
	bakeFile       = `group "default" { targets = ["base", "app"] }
variable "BUILD_NUMBER" { default = "0" }
target "base" {
  context = "base"
  tags = ["NAME-base:latest"]
}
target "app" {
  context = "app"
  contexts = { base = "target:base" }
  tags = ["NAME:${BUILD_NUMBER}", "NAME:latest"]
}
`
	// script is the scenario's job: compare checksums, build, tag, push.
	script = `set -eu
cd "$1"
built=0
for part in base app; do
  sum=$(tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - $part | sha256sum)
  if [ "$built" = 1 ] || [ ! -e .$part.sum ] || [ "$(cat .$part.sum)" != "$sum" ]; then
    $DOCKER build --network none -q -t $NAME-$part -f $part/Dockerfile.script $part >/dev/null
    $DOCKER tag $NAME-$part $REGISTRY/$NAME-$part:$NUMBER
    $DOCKER tag $NAME-$part $REGISTRY/$NAME-$part:latest
    $DOCKER push -q $REGISTRY/$NAME-$part:$NUMBER >/dev/null
    $DOCKER push -q $REGISTRY/$NAME-$part:latest >/dev/null
    echo "$sum" > .$part.sum
    built=1
  fi
done
`
)

// sample is what one round measured, in seconds, by name.
type sample map[string]float64

type results struct {
	first, changed, same []sample // slipway, script (classic builder), script-buildkit
	over                 []sample // slipway, buildctl
	tenThousand          []sample // cold, warm, changed
}

func (r *results) sideBySide(ctx context.Context, m *machinery, rounds int) error {
	for round := range rounds + 1 { // the first one warms up
		name := fmt.Sprintf("cool%d", round)
		contenders := []contender{m.slipwayWay(name), m.scriptWay(name+"c", "0"), m.scriptWay(name+"b", "1")}
		if err := prepare(contenders, name); err != nil {
			return err
		}
		steps := []struct {
			list   *[]sample
			change func() error
		}{
			{&r.first, func() error { return nil }},
			{&r.same, func() error { return nil }},
			{&r.changed, func() error { return change(contenders, "app/src/file-7") }},
			{&r.same, func() error { return nil }},
		}
		for _, step := range steps {
			if err := step.change(); err != nil {
				return err
			}
			s := sample{}
			for i := range contenders {
				c := contenders[(i+round)%len(contenders)]
				began := time.Now()
				if err := c.build(ctx); err != nil {
					return err
				}
				s[c.name] = time.Since(began).Seconds()
			}
			if round > 0 {
				*step.list = append(*step.list, s)
			}
		}
		fmt.Fprintf(os.Stderr, "side by side, round %d of %d\n", round, rounds)
	}
	return nil
}

// contender is one way to build, in a folder of its own.
type contender struct {
	name  string
	dir   string
	build func(context.Context) error
}

func (m *machinery) slipwayWay(name string) contender {
	dir := filepath.Join(m.dir, "work", name)
	return contender{"slipway", dir, func(ctx context.Context) error {
		return command(ctx, nil, m.slipway, "build", "--data", m.data, "--progress", "plain", dir)
	}}
}

func (m *machinery) scriptWay(name, buildkit string) contender {
	dir := filepath.Join(m.dir, "work", name)
	number := 0
	label := map[string]string{"0": "script", "1": "script-buildkit"}[buildkit]
	return contender{label, dir, func(ctx context.Context) error {
		number++
		return command(ctx, []string{"DOCKER=" + strings.Join(m.docker, " "), "DOCKER_BUILDKIT=" + buildkit, "DOCKER_CONFIG=" + filepath.Join(m.dir, "docker-config"), "NAME=" + name, "REGISTRY=" + m.registry, fmt.Sprint("NUMBER=", number)}, "bash", "-c", script, "bash", dir)
	}}
}

// prepare writes the same new content for everybody.
func prepare(contenders []contender, name string) error {
	files := map[string][]byte{"base/packages": random(20 << 20), "base/Dockerfile": []byte(baseDockerfile), "app/Dockerfile": []byte(appDockerfile), "base/Dockerfile.script": []byte(baseDockerfile)}
	for i := range 200 {
		files[fmt.Sprintf("app/src/file-%d", i)] = random(4 << 10)
	}
	for _, c := range contenders {
		files["docker-bake.hcl"] = []byte(strings.ReplaceAll(bakeFile, "NAME", name))
		own := filepath.Base(c.dir)
		files["app/Dockerfile.script"] = []byte(strings.Replace(appDockerfile, "FROM base", "FROM "+own+"-base", 1))
		for path, content := range files {
			if err := write(filepath.Join(c.dir, path), content); err != nil {
				return err
			}
		}
	}
	return nil
}

func change(contenders []contender, path string) error {
	content := random(4 << 10)
	for _, c := range contenders {
		if err := write(filepath.Join(c.dir, path), content); err != nil {
			return err
		}
	}
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return b
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// overhead compares a changed build with buildctl on the same daemon: the same
// Dockerfile on the same base, the result as an OCI layout in a folder.
func (r *results) overhead(ctx context.Context, m *machinery, rounds int) error {
	const dockerfile = "FROM busybox\nCOPY src /src\nRUN seq 1 6000000 | sha256sum > /work && find /src -type f | sort | xargs cat | sha256sum >> /work\n"
	layout := filepath.Join(m.dir, "base-layout")
	if err := command(ctx, nil, m.slipway, "pull", m.host+"/docker.io/library/busybox:latest", layout, "--format", "oci"); err != nil {
		return err
	}
	digest, err := layoutDigest(layout)
	if err != nil {
		return err
	}
	address := "unix://" + filepath.Join(m.data, "buildkit", "buildkitd.sock")
	ours, theirs := filepath.Join(m.dir, "work", "ours"), filepath.Join(m.dir, "work", "theirs")
	contenders := []contender{
		{"slipway", ours, func(ctx context.Context) error {
			return command(ctx, nil, m.slipway, "build", "--data", m.data, "--progress", "plain", ours)
		}},
		{"buildctl", theirs, func(ctx context.Context) error {
			return command(ctx, nil, m.buildctl, "--addr", address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
				"--local", "context="+theirs, "--local", "dockerfile="+theirs, "--oci-layout", "base="+layout,
				"--opt", "context:busybox=oci-layout://base@"+digest, "--output", "type=oci,tar=false,dest="+filepath.Join(m.dir, "out"))
		}},
	}
	for round := range rounds + 1 {
		for _, c := range contenders {
			if err := write(filepath.Join(c.dir, "Dockerfile"), []byte(dockerfile)); err != nil {
				return err
			}
		}
		s := sample{}
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			// Each its own content: on one daemon the second would find it built.
			if err := write(filepath.Join(c.dir, "src", "main"), random(64<<10)); err != nil {
				return err
			}
			began := time.Now()
			if err := c.build(ctx); err != nil {
				return err
			}
			s[c.name] = time.Since(began).Seconds()
		}
		if round > 0 {
			r.over = append(r.over, s)
		}
		fmt.Fprintf(os.Stderr, "beside buildctl, round %d of %d\n", round, rounds)
	}
	return nil
}

// large measures a context of many files: first, unchanged, one file changed.
func (r *results) large(ctx context.Context, m *machinery, rounds, files int) error {
	dir := filepath.Join(m.dir, "work", "large")
	if err := write(filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nCOPY . /all\n")); err != nil {
		return err
	}
	for i := range files {
		if err := write(filepath.Join(dir, fmt.Sprintf("d%02d/f%04d", i%100, i)), fmt.Appendf(nil, "file %d of many\n", i)); err != nil {
			return err
		}
	}
	// The decision is what the server's own log says that it took; the command
	// adds its start.
	build := func() (float64, error) {
		began := time.Now()
		err := command(ctx, nil, m.slipway, "build", "--data", m.data, "--progress", "plain", dir)
		return time.Since(began).Seconds(), err
	}
	for round := range rounds + 1 {
		s := sample{}
		for _, step := range []string{"changed", "unchanged", "warm"} {
			if step == "changed" {
				if err := write(filepath.Join(dir, "d00/f0000"), fmt.Appendf(nil, "round %d\n", round)); err != nil {
					return err
				}
			}
			seconds, err := build()
			if err != nil {
				return err
			}
			s[step] = seconds
		}
		if round > 0 {
			r.tenThousand = append(r.tenThousand, s)
		}
	}
	return nil
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}
