package reader

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	buildx "github.com/docker/buildx/bake"

	"slipway/internal/bake"
)

// addServices reads the services that have no build section, and gives each
// target those that its own service depends on: buildx does not look at them.
func addServices(p *bake.Project, files []buildx.File, vars map[string]string) error {
	configs := []types.ConfigFile{}
	for _, f := range files {
		if isYAML(f.Name) {
			configs = append(configs, types.ConfigFile{Filename: f.Name, Content: f.Data})
		}
	}
	if len(configs) == 0 {
		return nil
	}
	r := &reads{environment: maps.Clone(vars), root: "/", seen: map[string]bool{}}
	if r.environment == nil {
		r.environment = map[string]string{}
	}
	if err := r.dotEnv("."); err != nil {
		return err
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{ConfigFiles: configs, Environment: r.environment}, func(o *loader.Options) {
		o.SetProjectName("bake", false)
		o.SkipNormalization, o.SkipValidation, o.SkipConsistencyCheck = true, true, true
		o.Profiles = []string{"*"}
	})
	if err != nil {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s: its services cannot be used in tests: %v", configs[0].Filename, err))
		return nil
	}
	p.Services = map[string]*bake.Service{}
	for name, s := range project.Services {
		if s.Build == nil && s.Image != "" {
			p.Services[name] = serviceOf(s)
		}
	}
	for name, s := range project.Services {
		target := p.Targets[strings.ReplaceAll(name, ".", "_")]
		if s.Build == nil || target == nil {
			continue
		}
		services := map[string]*bake.Service{}
		dependencies(p.Services, project, s, services)
		if len(services) > 0 {
			target.Test = &bake.TestSettings{Services: services}
		}
	}
	return nil
}

// dependencies collects what a service depends on, and what that does.
func dependencies(known map[string]*bake.Service, project *types.Project, of types.ServiceConfig, into map[string]*bake.Service) {
	for _, name := range slices.Sorted(maps.Keys(of.DependsOn)) {
		service, ok := known[name]
		if _, seen := into[name]; seen || !ok {
			continue
		}
		into[name] = service
		dependencies(known, project, project.Services[name], into)
	}
}

func serviceOf(s types.ServiceConfig) *bake.Service {
	service := &bake.Service{
		Image: s.Image, Command: s.Command, Entrypoint: s.Entrypoint, User: s.User, WorkingDir: s.WorkingDir, Tmpfs: s.Tmpfs,
		Environment: values(s.Environment), DependsOn: slices.Sorted(maps.Keys(s.DependsOn)),
	}
	if h := s.HealthCheck; h != nil {
		check := &bake.Healthcheck{Test: h.Test}
		if h.Disable {
			check.Test = []string{"NONE"}
		}
		for to, from := range map[*time.Duration]*types.Duration{&check.Interval: h.Interval, &check.Timeout: h.Timeout, &check.StartPeriod: h.StartPeriod} {
			*to = time.Duration(value(from))
		}
		check.Retries = int(min(value(h.Retries), 1<<20))
		service.Healthcheck = check
	}
	return service
}
