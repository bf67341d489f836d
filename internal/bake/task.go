package bake

// Task is what a child is asked. It travels as JSON on its standard input,
// which ends after it; the Answer comes back on its standard output.
type Task struct {
	Version int `json:"version"` // TaskVersion
	Request
	Root   string              `json:"root"` // the checkout
	Mode   Isolation           `json:"mode"`
	Inline map[string]string   `json:"inline,omitempty"` // files that the checkout does not have
	Gates  map[string][]string `json:"gates,omitempty"`
}

// TaskVersion changes whenever Task, Answer or Project do: the two programs may
// be of different releases, such as while one is being replaced.
const TaskVersion = 1

// Answer is what the child says: one of its fields is set.
type Answer struct {
	Project *Project `json:"project,omitempty"`
	Error   *Error   `json:"error,omitempty"`
	// NotIsolated asks for another attempt, with less isolation.
	NotIsolated string `json:"notIsolated,omitempty"`
	// OtherVersion is the TaskVersion of a child that does not know the task's.
	OtherVersion int `json:"otherVersion,omitempty"`
}

// Limits of a child, which it sets itself before it reads.
const (
	ChildMemory  = 768 << 20 // bytes of data; it is ended beyond
	ChildSeconds = 20        // of processor time

	maxAnswer = 32 << 20
)

// Isolation is how a child is kept from all but the checkout.
type Isolation string

const (
	IsolateNamespaces Isolation = "namespaces" // own root and network
	IsolateUser       Isolation = "user"       // the same, within a user namespace
	IsolateRoot       Isolation = "root"       // own root only
	IsolateChecks     Isolation = "checks"     // none: paths are checked beforehand
)
