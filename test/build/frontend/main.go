// Command frontend is a hostile BuildKit frontend, as a `# syntax=` line may
// name one: instead of building the Dockerfile it asks for what the build
// argument ASK says, KIND:WHAT, and makes an image of it.
//
//	context:           the folder that it was given; this one is honest
//	image:REFERENCE    an image by name, from wherever the builder finds it
//	resolve:REFERENCE  the same, its configuration only
//	layout:DIGEST      an image of the store that the session brings
//	local:NAME         a folder of whoever builds
//	session:DIGEST     the same, of the session's store under any name
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/util/appcontext"
)

func main() {
	if err := grpcclient.RunFromEnvironment(appcontext.Context(), build); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// storeName is what Slipway calls the store of a session.
const storeName = "slipway"

func build(ctx context.Context, c client.Client) (*client.Result, error) {
	opts := c.BuildOpts()
	ask := opts.Opts["build-arg:ASK"]
	kind, what, _ := strings.Cut(ask, ":")
	var state llb.State
	switch kind {
	case "context":
		state = llb.Local("context")
	case "local":
		state = llb.Local(what)
	case "image":
		state = llb.Image(what)
	case "resolve":
		_, _, config, err := c.ResolveImageConfig(ctx, what, sourceresolver.Opt{})
		if err != nil {
			return nil, err
		}
		state = llb.Scratch().File(llb.Mkfile("/config", 0o644, config))
	case "layout":
		state = llb.OCILayout("docker.io/library/"+storeName+"@"+what, llb.OCIStore("", storeName))
	case "session":
		state = llb.OCILayout("docker.io/library/anything@"+what, llb.OCIStore(opts.SessionID, storeName))
	default:
		return nil, fmt.Errorf("ASK is %q", ask)
	}
	// A copy, so that what was asked for has to be read.
	state = llb.Scratch().File(llb.Copy(state, "/", "/stolen", &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true}))
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return c.Solve(ctx, client.SolveRequest{Definition: def.ToPB(), Evaluate: true})
}
