package bake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// settingsFile is slipway.yaml as it is written.
type settingsFile struct {
	Repository   string              `yaml:"repository"`
	Test         map[string]testFile `yaml:"test"`
	Gates        map[string]words    `yaml:"gates"`
	MaxAge       span                `yaml:"max-age"`
	Keep         *int                `yaml:"keep"`
	Compression  string              `yaml:"compression"`
	Attestations bool                `yaml:"attestations"`
}

type testFile struct {
	Services    map[string]serviceFile `yaml:"services"`
	Reports     words                  `yaml:"reports"`
	MinCoverage percent                `yaml:"min-coverage"`
}

type serviceFile struct {
	Image       string      `yaml:"image"`
	Command     words       `yaml:"command"`
	Entrypoint  words       `yaml:"entrypoint"`
	Environment variables   `yaml:"environment"`
	User        string      `yaml:"user"`
	WorkingDir  string      `yaml:"working_dir"`
	Tmpfs       words       `yaml:"tmpfs"`
	Healthcheck *healthFile `yaml:"healthcheck"`
	DependsOn   words       `yaml:"depends_on"`
}

type healthFile struct {
	Test        probe `yaml:"test"`
	Interval    span  `yaml:"interval"`
	Timeout     span  `yaml:"timeout"`
	StartPeriod span  `yaml:"start_period"`
	Retries     int   `yaml:"retries"`
}

// words is one text or a list of them.
type words []string

func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = words{n.Value}
		return nil
	}
	return n.Decode((*[]string)(w))
}

// probe is a command, or one text for the shell.
type probe []string

func (p *probe) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*p = probe{"CMD-SHELL", n.Value}
		return nil
	}
	if err := n.Decode((*[]string)(p)); err != nil {
		return err
	}
	if len(*p) == 0 || !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, (*p)[0]) {
		return fmt.Errorf("line %d: a healthcheck's test begins with CMD, CMD-SHELL or NONE", n.Line)
	}
	return nil
}

// variables is a mapping, or a list of NAME=VALUE.
type variables map[string]string

func (v *variables) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return n.Decode((*map[string]string)(v))
	}
	var list []string
	if err := n.Decode(&list); err != nil {
		return err
	}
	*v = variables{}
	for _, entry := range list {
		name, value, ok := strings.Cut(entry, "=")
		if !ok {
			return fmt.Errorf("line %d: %q is not NAME=VALUE", n.Line, entry)
		}
		(*v)[name] = value
	}
	return nil
}

// span is a duration; besides Go's units there is d, a day of 24 hours.
type span time.Duration

var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

func (s *span) UnmarshalYAML(n *yaml.Node) error {
	text, total := n.Value, time.Duration(0)
	if m := days.FindStringSubmatch(text); m != nil {
		count, _ := strconv.Atoi(m[1])
		total, text = time.Duration(count)*24*time.Hour, m[2]
	}
	if text != "" || total == 0 {
		rest, err := time.ParseDuration(text)
		if err != nil || rest < 0 {
			return fmt.Errorf("line %d: %q is not a duration, such as 90s, 12h or 7d", n.Line, n.Value)
		}
		total += rest
	}
	*s = span(total)
	return nil
}

// percent is a number, with or without a percent sign.
type percent float64

func (p *percent) UnmarshalYAML(n *yaml.Node) error {
	number, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(n.Value, "%")), 64)
	if err != nil || !(number >= 0 && number <= 100) {
		return fmt.Errorf("line %d: %q is not a percentage from 0 to 100", n.Line, n.Value)
	}
	*p = percent(number)
	return nil
}

// parsedSettings are settings with the places of what they name.
type parsedSettings struct {
	Settings
	lines map[string]int // "gates.NAME", "test.NAME" …
}

func readSettings(checkout *os.Root) (*parsedSettings, error) {
	content, err := readRegular(checkout, SettingsFile, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &parsedSettings{Settings: Settings{Keep: DefaultKeep}}, nil
	}
	if err != nil {
		return nil, &Error{Position{File: SettingsFile}, "cannot be read: " + Reason(err)}
	}
	return parseSettings(content)
}

// parseSettings reads slipway.yaml. An unknown key is an error, and so is a
// second document.
func parseSettings(content []byte) (*parsedSettings, error) {
	var f settingsFile
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, settingsError(err)
	}
	if err := decoder.Decode(new(yaml.Node)); err == nil {
		return nil, &Error{Position{File: SettingsFile}, "has a second document: there can be one only"}
	}
	p := &parsedSettings{lines: settingsLines(content)}
	p.Settings = Settings{
		Repository: f.Repository, MaxAge: time.Duration(f.MaxAge), Keep: DefaultKeep,
		Compression: f.Compression, Attestations: f.Attestations,
	}
	if f.Keep != nil {
		p.Keep = *f.Keep
	}
	if p.Keep < -1 || p.Keep == 0 {
		return nil, p.fail("keep", "keep is %d: it is how many numbered tags stay, at least 1, or -1 for all", p.Keep)
	}
	if !slices.Contains([]string{"", "gzip", "zstd"}, p.Compression) {
		return nil, p.fail("compression", "compression %q is not known: choose gzip or zstd", p.Compression)
	}
	if f.Gates != nil {
		p.Gates = map[string][]string{}
		for name, held := range f.Gates {
			p.Gates[name] = held
		}
	}
	for name, test := range f.Test {
		t := TestSettings{Reports: test.Reports, MinCoverage: float64(test.MinCoverage)}
		for _, pattern := range t.Reports {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, p.fail("test."+name, "test %s: %q is not a pattern", name, pattern)
			}
		}
		for service, s := range test.Services {
			made, err := s.service()
			if err != nil {
				return nil, p.fail("test."+name, "test %s: service %s: %v", name, service, err)
			}
			for _, other := range made.DependsOn {
				if _, ok := test.Services[other]; !ok {
					return nil, p.fail("test."+name, "test %s: service %s depends on %s, which is not among the services", name, service, other)
				}
			}
			if t.Services == nil {
				t.Services = map[string]*Service{}
			}
			t.Services[service] = made
		}
		if name, ok := cycle(t.Services); ok {
			return nil, p.fail("test."+name, "service %s depends on itself", name)
		}
		if p.Tests == nil {
			p.Tests = map[string]TestSettings{}
		}
		p.Tests[name] = t
	}
	return p, nil
}

func (s serviceFile) service() (*Service, error) {
	if s.Image == "" {
		return nil, errors.New("it has no image")
	}
	for _, folder := range s.Tmpfs {
		if !path.IsAbs(folder) {
			return nil, fmt.Errorf("the tmpfs %q is not an absolute path", folder)
		}
	}
	service := &Service{
		Image: s.Image, Command: s.Command, Entrypoint: s.Entrypoint, Environment: s.Environment,
		User: s.User, WorkingDir: s.WorkingDir, Tmpfs: s.Tmpfs, DependsOn: s.DependsOn,
	}
	if h := s.Healthcheck; h != nil {
		if len(h.Test) == 0 {
			return nil, errors.New("its healthcheck has no test")
		}
		if h.Retries < 0 {
			return nil, errors.New("its healthcheck has retries below 0")
		}
		service.Healthcheck = &Healthcheck{
			Test: h.Test, Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout),
			StartPeriod: time.Duration(h.StartPeriod), Retries: h.Retries,
		}
	}
	return service, nil
}

// cycle finds a service that depends on itself.
func cycle(services map[string]*Service) (string, bool) {
	state := map[string]int{}
	var visit func(name string) bool
	visit = func(name string) bool {
		if state[name] != 0 {
			return state[name] == 1
		}
		state[name] = 1
		for _, other := range services[name].DependsOn {
			if visit(other) {
				return true
			}
		}
		state[name] = 2
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if visit(name) {
			return name, true
		}
	}
	return "", false
}

// gates are the tests and what they hold back; without a word about it, what is
// named test holds back everything.
func (p *parsedSettings) gates() map[string][]string {
	if p.Gates == nil {
		return map[string][]string{"test": {"*"}}
	}
	return p.Gates
}

// apply gives targets their test settings, and checks the names in settings.
func (p *parsedSettings) apply(project *Project) error {
	known := func(name string) bool { return len(project.Expand(name)) > 0 }
	for name, held := range p.Gates {
		for _, n := range append([]string{name}, held...) {
			if n != "*" && !known(n) {
				return p.fail("gates."+name, "gates: there is no target or group %q%s", n, Suggest(n, project.Names()))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Tests)) {
		if !known(name) {
			return p.fail("test."+name, "test: there is no target or group %q%s", name, Suggest(name, project.Names()))
		}
	}
	for name, target := range project.Targets {
		if t, ok := p.Tests[name]; ok {
			target.Test = &t
			continue
		}
		for _, group := range slices.Sorted(maps.Keys(p.Tests)) {
			if slices.Contains(project.Groups[group], name) {
				t := p.Tests[group]
				target.Test = &t
				break
			}
		}
	}
	return nil
}

func (p *parsedSettings) fail(key, format string, args ...any) error {
	return &Error{Position{SettingsFile, p.lines[key]}, fmt.Sprintf(format, args...)}
}

var yamlLine = regexp.MustCompile(`\bline (\d+)\b`)

var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

func settingsError(err error) error {
	e := &Error{Position{File: SettingsFile}, strings.TrimPrefix(err.Error(), "yaml: ")}
	var typed *yaml.TypeError
	if errors.As(err, &typed) && len(typed.Errors) > 0 {
		e.Message = typed.Errors[0]
	}
	if m := yamlLine.FindStringSubmatch(e.Message); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Message = strings.TrimPrefix(e.Message, "line "+m[1]+": ")
	}
	if m := unknownKey.FindStringSubmatch(e.Message); m != nil {
		e.Message = fmt.Sprintf("the key %q is unknown", m[1])
	}
	return e
}

func settingsLines(content []byte) map[string]int {
	lines := map[string]int{}
	var document yaml.Node
	if yaml.Unmarshal(content, &document) != nil || len(document.Content) == 0 {
		return lines
	}
	for key, value := range Entries(document.Content[0]) {
		lines[key.Value] = key.Line
		for inner := range Entries(value) {
			lines[key.Value+"."+inner.Value] = inner.Line
		}
	}
	return lines
}

// Entries are the keys and values of a mapping, in the order of the file.
func Entries(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}
