package main

import (
	"fmt"
	"io"
	"time"
)

// steps prints what is done, a line each, with the time it took.
type steps struct {
	w     io.Writer
	begin time.Time
}

// do does a step and prints its name and what it reports. A step that reports
// nothing had nothing to do, and is not printed.
func (s *steps) do(name string, step func() (string, error)) error {
	begin := time.Now()
	what, err := step()
	if err == nil && what != "" {
		fmt.Fprintf(s.w, "%-12s %-72s %9s\n", name, what, took(time.Since(begin)))
	}
	return err
}

// total prints the time since the first step.
func (s *steps) total() {
	fmt.Fprintf(s.w, "%-12s %-72s %9s\n", "done", "", took(time.Since(s.begin)))
}

// took writes a duration as milliseconds, with so many digits that two small
// ones can be told apart.
func took(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
