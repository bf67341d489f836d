package bake

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// canonicalVersion changes whenever the text of Canonical does.
const canonicalVersion = "slipway-dockerfile-1"

// canonical writes what determines the build: directives, the arguments before
// the first FROM, and the instructions of the reachable stages as BuildKit's
// parser reads them, which is without comments and blank lines. Stages are
// numbered anew, so that one that is not needed leaves no trace; each text has
// its length before it, so that no text can imitate another.
func (a *analysis) canonical(content []byte) []byte {
	var b bytes.Buffer
	put := func(words ...string) {
		for _, w := range words {
			fmt.Fprintf(&b, "%d:%s ", len(w), w)
		}
		b.WriteByte('\n')
	}
	put(canonicalVersion)
	put("escape", string(a.escape))
	if check, _, _, ok := parser.ParseDirective("check", content); ok {
		put("check", check)
	}
	putNode := func(n *parser.Node) {
		put(n.Original)
		for _, h := range n.Heredocs {
			put("heredoc", h.Name, strconv.FormatUint(uint64(h.FileDescriptor), 10),
				strconv.FormatBool(h.Expand), strconv.FormatBool(h.Chomp), h.Content)
		}
	}
	for _, n := range a.metaNodes {
		putNode(n)
	}
	number := map[*stage]int{}
	for _, i := range a.result.Reachable {
		number[a.stages[i]] = len(number)
	}
	for _, i := range a.result.Reachable {
		s := a.stages[i]
		put("stage", strconv.Itoa(number[s]))
		if s.base != nil && s.context == "" {
			put("base", strconv.Itoa(number[s.base]))
		}
		for _, e := range s.edges {
			put("uses", strconv.Itoa(number[e.to]))
		}
		for _, n := range a.nodes[i] {
			putNode(a.renumbered(n, number))
		}
	}
	return b.Bytes()
}

// Uncanonical is a line of a Dockerfile's canonical form without the lengths
// before its words. A line of another form is returned as it is.
func Uncanonical(line string) string {
	var words []string
	for rest := line; rest != ""; {
		length, after, ok := strings.Cut(rest, ":")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || n < 0 || n > len(after) {
			// The word has line ends of its own: this is its beginning.
			if ok && err == nil && n > len(after) && words == nil {
				return after
			}
			return line
		}
		words = append(words, after[:n])
		rest = strings.TrimPrefix(after[n:], " ")
	}
	return strings.Join(words, " ")
}

// renumbered writes COPY --from=NUMBER with the new number of the stage.
func (a *analysis) renumbered(n *parser.Node, number map[*stage]int) *parser.Node {
	if !strings.EqualFold(n.Value, "copy") {
		return n
	}
	for _, flag := range n.Flags {
		old, err := strconv.Atoi(strings.TrimPrefix(flag, "--from="))
		if !strings.HasPrefix(flag, "--from=") || err != nil || old < 0 || old >= len(a.stages) {
			continue
		}
		renumbered := *n
		renumbered.Original = strings.Replace(n.Original, flag, fmt.Sprintf("--from=%d", number[a.stages[old]]), 1)
		return &renumbered
	}
	return n
}

// proxies are the arguments that every build has, and that must not change it.
var proxies = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}

// buildPlatformArgs tell of the platform of the builder.
var buildPlatformArgs = []string{"BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT"}

// UsesBuildPlatform reports whether the build can tell on what it runs.
func (d *Dockerfile) UsesBuildPlatform() bool {
	return slices.ContainsFunc(buildPlatformArgs, func(name string) bool { return slices.Contains(d.Args, name) })
}

// usedArgs are the build arguments that can change the build.
func (a *analysis) usedArgs() []string {
	used := map[string]bool{}
	for _, s := range a.stages {
		if !s.reached {
			continue
		}
		maps.Copy(used, s.args)
		for _, command := range s.commands() {
			if c, ok := command.(*instructions.ArgCommand); ok {
				for _, arg := range c.Args {
					used[arg.Key] = true
				}
			}
		}
	}
	for more := true; more; {
		more = false
		for name := range maps.Clone(used) {
			for other := range a.metaUses[name] {
				more = more || !used[other]
				used[other] = true
			}
		}
	}
	// BuildKit itself acts on these, declared or not.
	for name := range a.options.Args {
		if strings.HasPrefix(name, "BUILDKIT_") || name == "SOURCE_DATE_EPOCH" {
			used[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(used))
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.Contains(proxies, strings.ToUpper(name))
	})
}

func formatted(p ocispec.Platform) string { return platforms.FormatAll(p) }

// tagged gives a name of an image its tag, as BuildKit does before it looks for
// a named context.
func tagged(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.TagNameOnly(ref).String()
}
