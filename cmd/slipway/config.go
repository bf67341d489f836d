package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting has one name: "gc.grace" is the flag --gc.grace, the key gc.grace
// of the configuration file (or grace within gc), and the variable
// SLIPWAY_GC_GRACE. A flag wins over a variable, and that over the file.

const envPrefix = "SLIPWAY_"

// envElsewhere are variables of that prefix that are not settings of serve:
// the client's, those of scripts around it, and those that Kubernetes sets in every pod beside a service
// called slipway.
var envElsewhere = regexp.MustCompile(`^SLIPWAY_(SERVER|BAKE|BIN|SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)$`)

func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(setting))
}

// applyConfiguration fills in the flags that the command line did not set,
// from the environment and from the file that --config or SLIPWAY_CONFIG
// names. Unknown settings are errors.
func applyConfiguration(flags *pflag.FlagSet, environ []string) error {
	onCommandLine := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { onCommandLine[f.Name] = true })
	fromEnv, err := settingsFromEnv(flags, environ)
	if err != nil {
		return err
	}
	file := flags.Lookup("config").Value.String()
	if v, ok := fromEnv["config"]; ok && !onCommandLine["config"] {
		file = v
	}
	settings := map[string]string{}
	if file != "" {
		if settings, err = settingsFromFile(flags, file); err != nil {
			return err
		}
	}
	origin := "configuration file " + file
	for _, source := range []struct {
		origin   string
		settings map[string]string
	}{{origin, settings}, {"environment", fromEnv}} {
		for name, value := range source.settings {
			if onCommandLine[name] {
				continue
			}
			if err := flags.Set(name, value); err != nil {
				return fmt.Errorf("%s: %s: %w", source.origin, name, err)
			}
		}
	}
	return nil
}

func settingsFromEnv(flags *pflag.FlagSet, environ []string) (map[string]string, error) {
	byEnv := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) { byEnv[envName(f.Name)] = f.Name })
	settings := map[string]string{}
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(key, envPrefix) || envElsewhere.MatchString(key) {
			continue
		}
		name, ok := byEnv[key]
		if !ok || name == "help" {
			return nil, fmt.Errorf("environment variable %s is not a setting of slipway serve%s", key, suggestion(key, mapKeys(byEnv)))
		}
		settings[name] = value
	}
	return settings, nil
}

func settingsFromFile(flags *pflag.FlagSet, file string) (map[string]string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", file, err)
	}
	settings := map[string]string{}
	if len(doc.Content) == 0 {
		return settings, nil
	}
	if err := flatten(flags, file, "", doc.Content[0], settings); err != nil {
		return nil, err
	}
	return settings, nil
}

// flatten turns nested keys into dotted names.
func flatten(flags *pflag.FlagSet, file, prefix string, node *yaml.Node, into map[string]string) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("configuration file %s, line %d: expected settings as 'name: value'", file, node.Line)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode {
			if err := flatten(flags, file, name+".", value, into); err != nil {
				return err
			}
			continue
		}
		f := flags.Lookup(name)
		if name == "config" {
			return fmt.Errorf("configuration file %s, line %d: \"config\" names the file and cannot be set within it", file, key.Line)
		}
		if f == nil || name == "help" {
			var known []string
			flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
			return fmt.Errorf("configuration file %s, line %d: %q is not a setting%s", file, key.Line, name, suggestion(name, known))
		}
		_, listed := f.Value.(acceptsList)
		if listed = listed && value.Kind == yaml.SequenceNode; value.Kind != yaml.ScalarNode && !listed {
			return fmt.Errorf("configuration file %s, line %d: %s needs one value", file, value.Line, name)
		}
		if _, twice := into[name]; twice {
			return fmt.Errorf("configuration file %s, line %d: %s is set twice", file, key.Line, name)
		}
		into[name] = value.Value
		if listed {
			text, err := yaml.Marshal(value)
			if err != nil {
				return fmt.Errorf("configuration file %s, line %d: %w", file, value.Line, err)
			}
			into[name] = string(text)
		}
	}
	return nil
}

// acceptsList is a flag that the file may give as a list, which it is then set
// to in YAML.
type acceptsList interface{ AcceptsList() }

// suggestion names the known word that is nearest to a mistyped one.
func suggestion(word string, known []string) string {
	slices.Sort(known)
	best, distance := "", len(word)/2+1
	for _, k := range known {
		if d := editDistance(word, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return "; 'slipway serve --help' lists them"
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func mapKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// byteSize is a flag such as 4MiB.
type byteSize int64

var byteUnits = []struct {
	suffix string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

var errSize = errors.New("a size is a whole number with a unit, such as 4MiB or 500MB")

func (b *byteSize) Set(s string) error {
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<63-1)/u.factor {
			return errSize
		}
		*b = byteSize(n * u.factor)
		return nil
	}
	return errSize
}

func (b *byteSize) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if f := byteUnits[u].factor; int64(*b) >= f && int64(*b)%f == 0 {
			return strconv.FormatInt(int64(*b)/f, 10) + byteUnits[u].suffix
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

func (b *byteSize) Type() string { return "size" }
