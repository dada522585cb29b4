package driver

import (
	"context"
	"fmt"
	"sync"
)

// A Severity says what a Finding means for the token.
type Severity int

const (
	// Good is a thing that was looked at and is in order.
	Good Severity = iota
	// Warning is a thing that works now and deserves attention: a key that is
	// not protected as it could be, a counter that nears its end.
	Warning
	// Problem is a thing for which the token cannot be used, or not safely.
	Problem
)

func (s Severity) String() string {
	switch s {
	case Good:
		return "ok"
	case Warning:
		return "warning"
	case Problem:
		return "problem"
	}
	return fmt.Sprintf("severity %d", int(s))
}

// A Finding is one line of a diagnosis. It holds no secret.
type Finding struct {
	Severity Severity
	// Name is a fixed word for what was looked at, such as "permission" or
	// "lock-state": programs compare it, so it does not change from one
	// release to the next.
	Name string
	// Text says what was found, with the path, the address or the slot.
	Text string
	// Cure says what to do, "" for a Good finding.
	Cure string
}

// A DiagnoseFunc looks at what params describe, from the outside inwards (the
// bus before the chip, the chip before its keys), and reports what it finds. It
// is meant for tokens that do not open, so it opens and repairs nothing by
// itself, asks for no PIN, and leaves the device as it was. It stops at the
// first Problem behind which nothing more can be seen. The error is for a
// diagnosis that could not be made at all (a parameter is malformed, ctx ended),
// never for what is wrong with the token.
type DiagnoseFunc func(ctx context.Context, params *Params) ([]Finding, error)

var diagnoses struct {
	sync.RWMutex
	m map[string]DiagnoseFunc
}

// RegisterDiagnosis makes the diagnosis of a backend known under the scheme of
// its token names. Registering a scheme twice panics.
func RegisterDiagnosis(scheme string, diagnose DiagnoseFunc) {
	diagnoses.Lock()
	defer diagnoses.Unlock()
	if diagnoses.m == nil {
		diagnoses.m = make(map[string]DiagnoseFunc)
	}
	if _, dup := diagnoses.m[scheme]; dup || diagnose == nil {
		panic("driver: RegisterDiagnosis twice, or without a function: " + scheme)
	}
	diagnoses.m[scheme] = diagnose
}

// Diagnose looks at the token of the given name without opening it and reports
// what it finds. A backend that registered no diagnosis gets one by way of Open:
// one Finding, the token's own error if it does not open.
func Diagnose(ctx context.Context, name string) ([]Finding, error) {
	params, err := ParseName(name)
	if err != nil {
		return nil, err
	}
	return DiagnoseParams(ctx, params)
}

// DiagnoseParams is Diagnose for a name that is parsed already, as OpenParams is
// Open for one.
func DiagnoseParams(ctx context.Context, params *Params) ([]Finding, error) {
	diagnoses.RLock()
	diagnose := diagnoses.m[params.Scheme]
	diagnoses.RUnlock()
	if diagnose != nil {
		findings, err := diagnose(ctx, params)
		if err == nil {
			err = params.Unused()
		}
		return findings, err
	}
	token, err := OpenParams(ctx, params)
	if err != nil {
		return []Finding{{Problem, "open", err.Error(), "see the message"}}, nil
	}
	token.Close()
	return []Finding{{Severity: Good, Name: "open", Text: "the token opens"}}, nil
}
