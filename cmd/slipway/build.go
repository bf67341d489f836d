//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"slipway/internal/git"
	"slipway/internal/pipeline"
	"slipway/internal/rest"
)

// Exit codes of slipway build, beside those of every command.
const (
	exitTest      = 3 // a test failed, or covers too little
	exitBuild     = 4 // a step of a Dockerfile failed
	exitProject   = 5 // the project can't be read, or names what is not there
	exitNoBuilder = 6 // there is nothing that builds
	exitCancelled = 130
)

// buildFlags are the flags of slipway build.
type buildFlags struct {
	api                                     apiFlags
	project, progress, output               string
	files, targets, set, vars, secrets, ssh []string
	force                                   []string
	explain                                 bool
	settings                                buildSettings
	mirror                                  mirrorSettings
}

// forceAll is what --force without a value means.
const forceAll = "*"

func newBuildCommand() *cobra.Command {
	var o buildFlags
	cmd := &cobra.Command{
		Use:   "build [DIR | GIT-URL[#REF[:SUBDIR]]]",
		Short: "Build what changed of a project, test it, and publish it",
		Long: `Build the targets of a project whose inputs changed, run its tests, and move the
tags of all its images at once. What did not change is reused by its digest.

The project is a docker-bake.hcl or .json, the build sections of a compose.yaml,
or a Dockerfile, looked for in this order. A slipway.yaml beside it says what
those have no words for: services of tests, gates, how many tags are kept.

The images go into the data folder of this machine: through the server that
uses it, or without one. With --server the folder is sent to that server, and
built there.

Exit code: 0 if all is published, 1 for a failure, 2 for a wrong command line,
3 if a test failed, 4 if a build failed, 5 if the project is wrong, 6 if there
is no builder, 130 if it was cancelled.`,
		Example: `  slipway build
  slipway build ./cool-app --explain
  slipway build --target app --set app.args.VERSION=1.2
  slipway build --force
  slipway build --secret id=npm,env=NPM_TOKEN
  slipway build https://git.example.com/team/cool-app.git#main
  slipway build --server http://registry.lan:5000`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	o.api.add(f, defaultDataDir())
	f.StringVar(&o.project, "project", "", "name of the project (default: of the folder, or of the repository)")
	f.StringArrayVarP(&o.files, "file", "f", nil, "bake or compose file, relative to the folder; may be repeated (default: detected)")
	f.StringArrayVarP(&o.targets, "target", "t", nil, `target or group to build; may be repeated (default "default")`)
	f.StringArrayVar(&o.set, "set", nil, "override a field, TARGET.FIELD=VALUE as in docker buildx bake; may be repeated")
	f.StringArrayVar(&o.vars, "var", nil, "value of a variable of the project, NAME=VALUE; may be repeated")
	f.StringArrayVar(&o.force, "force", nil, "build every target whatever its inputs, or only TARGET and what is built on it")
	f.Lookup("force").NoOptDefVal = forceAll
	f.BoolVar(&o.explain, "explain", false, "say every reason why a target is built or reused")
	f.StringArrayVar(&o.secrets, "secret", nil, "a secret of the build, id=ID,env=VARIABLE or id=ID,src=FILE; may be repeated")
	f.StringArrayVar(&o.ssh, "ssh", nil, "an SSH agent or keys for the build, ID or ID=SOCKET or ID=KEY[,KEY]; may be repeated")
	f.StringVar(&o.progress, "progress", "auto", "how progress is shown: auto, tty or plain")
	f.StringVarP(&o.output, "output", "o", "text", "text, or json: only the outcome, on standard output")
	o.settings.addFlags(f)
	o.mirror.addFlags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		where := "."
		if len(args) > 0 {
			where = args[0]
		}
		return o.run(cmd, where)
	}
	return cmd
}

func (o *buildFlags) run(cmd *cobra.Command, where string) error {
	if o.output != "text" && o.output != "json" {
		return usageError{fmt.Errorf("output is %q: use text or json", o.output)}
	}
	if err := errors.Join(o.settings.check(), o.mirror.check()); err != nil {
		return usageError{err}
	}
	request, err := o.request(where)
	if err != nil {
		return usageError{err}
	}
	server, err := o.api.remote(cmd)
	if err != nil {
		return err
	}
	show, err := newBuildProgress(cmd.ErrOrStderr(), o.progress, isatty.IsTerminal(os.Stderr.Fd()))
	if err != nil {
		return usageError{err}
	}
	var outcome *pipeline.Outcome
	sink := func(e pipeline.Event) {
		if e.Outcome != nil {
			outcome = e.Outcome
		}
		show.event(e)
	}
	if server != nil {
		err = buildRemote(cmd.Context(), server, request, sink)
	} else {
		err = o.buildLocal(cmd.Context(), request, sink)
	}
	show.end()
	if err != nil && outcome == nil {
		return buildExit(nil, err)
	}
	if outcome == nil {
		return errors.New("the build ended without an outcome: the connection to the server was cut off")
	}
	if o.output == "json" {
		if err := printJSON(cmd.OutOrStdout(), outcome); err != nil {
			return err
		}
	}
	return buildExit(outcome, err)
}

// buildExit gives the failure of a build its exit code.
func buildExit(o *pipeline.Outcome, err error) error {
	var f *pipeline.Failure
	kind := pipeline.Kind("")
	switch {
	case o != nil && o.State == pipeline.Passed:
		return nil
	case o != nil && o.State == pipeline.Cancelled, o == nil && errors.Is(err, context.Canceled):
		return exitError{errors.New("cancelled: no tag was moved"), exitCancelled}
	case o != nil && o.Number == 0:
		kind, err = o.Failure, errors.New(o.Error) // it did not begin
	case o != nil:
		kind, err = o.Failure, fmt.Errorf("run %d of %s failed: %s", o.Number, o.Project, o.Error)
	case errors.As(err, &f):
		kind = f.Kind
	}
	code := map[pipeline.Kind]int{pipeline.KindTest: exitTest, pipeline.KindBuild: exitBuild, pipeline.KindProject: exitProject, pipeline.KindBuilder: exitNoBuilder}[kind]
	return exitError{err, cmp.Or(code, exitFailure)}
}

// request is what the flags ask for, in the words of the API.
func (o *buildFlags) request(where string) (b rest.BuildRequest, err error) {
	set := func(field **[]string, list []string) {
		if len(list) > 0 {
			*field = &list
		}
	}
	if o.project != "" {
		b.Project = &o.project
	}
	set(&b.Files, o.files)
	set(&b.Targets, o.targets)
	set(&b.Set, o.set)
	set(&b.Ssh, o.ssh)
	if slices.Contains(o.force, forceAll) {
		yes := true
		b.Force = &yes
	} else {
		set(&b.ForceTargets, o.force)
	}
	b.Explain = &o.explain
	variables := map[string]string{}
	for _, v := range o.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return b, fmt.Errorf("--var %q is not NAME=VALUE", v)
		}
		variables[name] = value
	}
	b.Variables = &variables
	secrets, err := readSecretFlags(o.secrets)
	if err != nil {
		return b, err
	}
	b.Secrets = &secrets
	cause := "slipway build"
	if len(o.force) > 0 {
		cause += " --force"
	}
	b.Cause = &cause
	if isGitURL(where) {
		b.Source = &rest.BuildSource{Url: &where}
		return b, nil
	}
	dir, err := filepath.Abs(where)
	if err != nil {
		return b, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return b, fmt.Errorf("%s is neither a folder nor a git URL", where)
	}
	b.Directory = &dir
	return b, nil
}

// isGitURL tells a URL from a folder's path, as docker build does.
func isGitURL(s string) bool {
	if _, err := os.Stat(s); err == nil {
		return false
	}
	return git.IsURL(s)
}

// readSecretFlags reads what --secret names on this machine.
func readSecretFlags(list []string) (map[string][]byte, error) {
	secrets := map[string][]byte{}
	for _, s := range list {
		fields := map[string]string{}
		for part := range strings.SplitSeq(s, ",") {
			key, value, ok := strings.Cut(part, "=")
			if !ok || !slices.Contains([]string{"id", "env", "src", "source"}, key) {
				return nil, fmt.Errorf("--secret %q: write id=ID,env=VARIABLE or id=ID,src=FILE", s)
			}
			fields[strings.Replace(key, "source", "src", 1)] = value
		}
		id := fields["id"]
		switch {
		case id == "" || (fields["env"] == "") == (fields["src"] == ""):
			return nil, fmt.Errorf("--secret %q: write id=ID,env=VARIABLE or id=ID,src=FILE", s)
		case fields["env"] != "":
			value, ok := os.LookupEnv(fields["env"])
			if !ok {
				return nil, fmt.Errorf("--secret %s: there is no environment variable %s", id, fields["env"])
			}
			secrets[id] = []byte(value)
		default:
			value, err := os.ReadFile(fields["src"])
			if err != nil {
				return nil, fmt.Errorf("--secret %s: %w", id, err)
			}
			secrets[id] = value
		}
	}
	return secrets, nil
}

// buildLocal builds into a data folder of this machine: by the server that
// uses it, or by itself.
func (o *buildFlags) buildLocal(ctx context.Context, request rest.BuildRequest, sink pipeline.Sink) (err error) {
	if err := os.MkdirAll(o.api.data, 0o700); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	st, err := openStore(ctx, storeSettings{data: o.api.data}, log, nil)
	if errors.Is(err, errLocked) {
		return buildOverSocket(ctx, o.api.data, request, sink)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close(context.WithoutCancel(ctx))) }()
	if st.mirror, err = o.mirror.open(o.api.data, st.registry, 0, log); err != nil {
		return err
	}
	b, err := openBuilder(ctx, st, o.settings, nil, o.mirror.caCertificates, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	req, release, err := b.checkout(ctx, request, nil)
	if err != nil {
		return &pipeline.Failure{Kind: pipeline.KindProject, Err: err}
	}
	defer release()
	req.Actor = "local administrator"
	_, err = b.engine.Run(ctx, req, sink)
	return err
}
