// Gotest runs go test and says in one line how many tests passed, failed and
// were skipped. It prints what go test prints without -v: a line for each
// package, and the output of the tests that failed. Skipped tests are counted by
// their reason.
//
//	go run ./scripts/gotest -race ./...
//
// With $GOTEST_COUNTS set, it adds its counts to that file instead.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// An event is a line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
}

type counts struct{ passed, failed, skipped int }

func main() {
	var args []string
	if len(os.Args) > 1 {
		args = os.Args[1:]
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	c := report(os.Stdout, out)
	err = cmd.Wait()
	if err != nil && c.failed == 0 {
		c.failed++ // go test itself: a bad flag, a pattern without packages
	}
	if name := os.Getenv("GOTEST_COUNTS"); name == "" {
		fmt.Printf("%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	} else if err := appendCounts(name, c); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
}

// report copies what a person wants to see of the events in r to w, and counts
// the tests, subtests included.
func report(w io.Writer, r io.Reader) counts {
	var c counts
	output := map[string][]string{} // by package and test, while it runs
	crash := map[string][]string{}  // by package, from where it says so
	failed := map[string]bool{}     // packages with a failed test
	skipped := map[string]map[string]int{}
	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(w, in.Text())
			continue
		}
		id := e.Package + "\x00" + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "output":
			// The stacks of all goroutines are put down to whatever test said
			// something last, even to one that passes meanwhile.
			if crash[e.Package] != nil || crashes(e.Output) {
				crash[e.Package] = append(crash[e.Package], e.Output)
				continue
			}
			if e.Test == "" {
				if !silent(e.Output) {
					fmt.Fprint(w, e.Output)
				}
				continue
			}
			output[id] = append(output[id], e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				// A test that is still running when its package ends has crashed it.
				for _, other := range slices.Sorted(maps.Keys(output)) {
					if strings.HasPrefix(other, id) {
						c.failed++
						failed[e.Package] = true
						fmt.Fprint(w, strings.Join(output[other], ""))
						delete(output, other)
					}
				}
				if e.Action == "fail" {
					fmt.Fprint(w, strings.Join(crash[e.Package], ""))
				}
				for _, why := range slices.Sorted(maps.Keys(skipped[e.Package])) {
					fmt.Fprintf(w, "    %d skipped: %s\n", skipped[e.Package][why], why)
				}
				if e.Action == "fail" && !failed[e.Package] {
					c.failed++ // it does not build, or TestMain failed
				}
				continue
			}
			switch e.Action {
			case "pass":
				c.passed++
			case "fail":
				c.failed++
				failed[e.Package] = true
				fmt.Fprint(w, strings.Join(output[id], ""))
			case "skip":
				c.skipped++
				if skipped[e.Package] == nil {
					skipped[e.Package] = map[string]int{}
				}
				skipped[e.Package][reason(output[id])]++
			}
			delete(output, id)
		}
	}
	return c
}

// silent reports whether a line of a package says nothing that its last line
// does not.
func silent(line string) bool {
	return line == "PASS\n" || line == "FAIL\n" || strings.Contains(line, "[no test files]") ||
		strings.HasPrefix(line, "coverage:")
}

// crashes reports whether a line is the first of those with which a Go program
// ends that panics, runs out of time or is killed.
func crashes(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "SIGQUIT: ")
}

// place is where a test logged a line.
var place = regexp.MustCompile(`^\s*\S+\.go:\d+: `)

// reason returns what a test said last before it was skipped.
func reason(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if text := strings.TrimSpace(place.ReplaceAllString(line, "")); text != "" &&
			!strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- SKIP") {
			return text
		}
	}
	return "without a reason"
}

func appendCounts(name string, c counts) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, c.passed, c.failed, c.skipped)
	return errors.Join(err, f.Close())
}
