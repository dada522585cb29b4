package conformance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// grace is how long a case may take to return once its context has ended.
var grace = 5 * time.Second

var update = new(bool)

func init() {
	if testing.Testing() {
		flag.BoolVar(update, "conformance.update", false, "write the outcome lists of the targets")
	}
}

// Run runs the suite as subtests: a family each, and in it a case each, whose
// name is the sentence that failed.
func Run(t *testing.T, target Target) {
	e, err := newEnv(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	report := e.newReport()
	var mu sync.Mutex
	one := func(t *testing.T, c *Case) {
		r := e.run(t.Context(), c)
		mu.Lock()
		report.add(r)
		mu.Unlock()
		switch r.Outcome {
		case Fail:
			t.Error(r.details())
		case Skip:
			t.Skip(r.Reason)
		}
	}
	for _, cases := range families {
		t.Run(cases[0].Family, func(t *testing.T) {
			for i := range cases {
				c := &cases[i]
				t.Run(c.ID+" "+c.Name, func(t *testing.T) {
					if !c.serial && !target.Sequential {
						t.Parallel()
					}
					one(t, c)
				})
			}
		})
	}
	// t.Context has not ended: all subtests are over.
	if err := e.tearDown(t.Context()); err != nil {
		t.Errorf("tear down: %v", err)
	}
	report.finish()
	if target.Outcomes != "" && allSelected() {
		compareOutcomes(t, target.Outcomes, report)
	}
}

// allSelected reports whether no -run or -skip flag leaves cases out.
func allSelected() bool {
	for _, name := range []string{"test.run", "test.skip"} {
		if f := flag.Lookup(name); f != nil && strings.Contains(f.Value.String(), "/") {
			return false
		}
	}
	return true
}

// compareOutcomes compares the list of outcomes with the one that is committed.
func compareOutcomes(t *testing.T, name string, report *Report) {
	t.Helper()
	got := report.Outcomes()
	if report.Failed > 0 {
		t.Logf("%s is neither compared nor written: cases fail", name)
		return
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v\nrun the test with -conformance.update to write it", err)
	}
	want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
	if diff := diffLines(string(want), string(got)); diff != "" {
		t.Errorf("the outcomes are others than in %s (- there, + now):\n%srun the test with -conformance.update if that is right", name, diff)
	}
}

// diffLines returns the lines of only one of two texts.
func diffLines(want, got string) string {
	in := func(s string) map[string]bool {
		m := map[string]bool{}
		for line := range strings.Lines(s) {
			m[line] = true
		}
		return m
	}
	var b strings.Builder
	g, w := in(got), in(want)
	for line := range strings.Lines(want) {
		if !g[line] {
			b.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(got) {
		if !w[line] {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}

// CheckOptions are choices of Check. The zero value runs everything, one case
// at a time.
type CheckOptions struct {
	// Select says which cases run; nil for all.
	Select func(Case) bool
	// Progress is called after each case, from one goroutine at a time, with
	// the number of cases that are over and that there are.
	Progress func(r Result, done, total int)
	// Start is called before each case, under the same terms.
	Start func(c Case)
	// AllCalls keeps the calls of passed cases too.
	AllCalls bool
}

// Check runs the suite outside of go test, one case after the other. The error
// is of the setup, or the context's: a report with failures is no error.
func Check(ctx context.Context, target Target, opts *CheckOptions) (*Report, error) {
	if opts == nil {
		opts = &CheckOptions{}
	}
	e, err := newEnv(ctx, target)
	if err != nil {
		return nil, err
	}
	report := e.newReport()
	var selected []Case
	for _, c := range Cases() {
		if opts.Select == nil || opts.Select(c) {
			selected = append(selected, c)
		}
	}
	for i := range selected {
		if err := ctx.Err(); err != nil {
			e.tearDown(context.WithoutCancel(ctx))
			report.finish()
			return report, err
		}
		c := &selected[i]
		if opts.Start != nil {
			opts.Start(*c)
		}
		r := e.run(ctx, c)
		if r.Outcome == Pass && !opts.AllCalls {
			r.Log = nil
		}
		report.add(r)
		if opts.Progress != nil {
			opts.Progress(r, i+1, len(selected))
		}
	}
	err = e.tearDown(context.WithoutCancel(ctx))
	report.finish()
	if err != nil {
		return report, fmt.Errorf("conformance: clean up: %w", err)
	}
	return report, nil
}

// run runs one case, in a goroutine of its own so that one that hangs can be
// left behind.
func (e *env) run(ctx context.Context, c *Case) Result {
	r := Result{ID: c.ID, Family: c.Family, Name: c.Name, Clause: c.Clause, Ancestors: c.Ancestors}
	if r.Reason = c.missing(e); r.Reason != "" {
		r.Outcome = Skip
		return r
	}
	var start time.Time // valid once started is closed
	t := &T{e: e, c: c, rec: &recorder{}}
	var cancel context.CancelFunc
	t.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	started, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if c.serial {
			e.gate.Lock()
			defer e.gate.Unlock()
		} else {
			e.gate.RLock()
			defer e.gate.RUnlock()
		}
		start = time.Now()
		close(started)
		e.mu.Lock()
		hung := e.hung
		e.mu.Unlock()
		if hung != "" {
			t.errorf("not run: case %s has not come back", hung)
			return
		}
		if err := e.prepare(t.ctx, c.serial); err != nil {
			t.errorf("prepare the module: %v", err)
			return
		}
		defer t.finish()
		defer t.catch()
		c.run(t)
	}()
	if !e.wait(started, done, cancel) {
		e.mu.Lock()
		if e.hung == "" {
			e.hung = c.ID
		}
		hung := e.hung
		e.mu.Unlock()
		if hung == c.ID {
			t.errorf("no end after %v and %v of grace", e.target.Deadline, grace)
		} else {
			t.errorf("not run: case %s has not come back", hung)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.Outcome = Pass
	if len(t.failures) > 0 {
		r.Outcome = Fail
		r.Failures = append(r.Failures, t.failures...)
	}
	r.Checks, r.Calls, r.Log = t.checks, t.rec.calls(), t.rec.log()
	r.Codes = sortedKeys(t.codes)
	select {
	case <-started:
		r.Duration = time.Since(start)
	default: // it never got its turn
	}
	return r
}

// wait waits for a case to end: for its turn as long as the cases before may
// take, then for the deadline, then a little for it to notice.
func (e *env) wait(started, done <-chan struct{}, cancel func()) bool {
	limit := time.NewTimer(e.target.Deadline)
	defer limit.Stop()
	for {
		select {
		case <-started:
		case <-done:
			return true
		case <-limit.C:
			// Others have had the module all the time. They are timed too.
			e.mu.Lock()
			hung := e.hung
			e.mu.Unlock()
			if hung != "" {
				return false
			}
			limit.Reset(e.target.Deadline)
			continue
		}
		break
	}
	limit.Reset(e.target.Deadline)
	select {
	case <-done:
		return true
	case <-limit.C:
	}
	cancel()
	limit.Reset(grace)
	select {
	case <-done:
		return true
	case <-limit.C:
		return false
	}
}
