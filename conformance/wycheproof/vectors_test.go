package wycheproof

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var update = flag.Bool("update", false, "rewrite testdata/outcomes.txt")

// A hexBytes is written in hexadecimal.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) error {
	v, err := hex.DecodeString(string(text))
	*b = v
	return err
}

// A vector is what all vectors have.
type vector struct {
	ID      int    `json:"tcId"`
	Comment string `json:"comment"`
	Result  string `json:"result"` // valid, invalid, acceptable
	Flags   []string
}

// groups reads a file of vectors.
func groups[G any](t testing.TB, name string) []G {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	must(t, err)
	var file struct {
		NumberOfTests int `json:"numberOfTests"`
		TestGroups    []G `json:"testGroups"`
	}
	must(t, json.Unmarshal(b, &file))
	return file.TestGroups
}

// counts is how many vectors of a file came to what.
type counts struct {
	valid, invalid    int            // accepted and refused, as they have to be
	accepted, refused int            // of the acceptable ones
	except            map[string]int // by name of the exception
}

func (c counts) total() int {
	n := c.valid + c.invalid + c.accepted + c.refused
	for _, k := range c.except {
		n += k
	}
	return n
}

func (c counts) String() string {
	s := fmt.Sprintf("valid %d invalid %d acceptable %d+%d", c.valid, c.invalid, c.accepted, c.refused)
	for _, name := range slices.Sorted(maps.Keys(c.except)) {
		s += fmt.Sprintf(" %s %d", name, c.except[name])
	}
	return s
}

// A file is one of the vectors' files as it is gone through.
type file struct {
	*session
	name string
	counts

	// The private RSA key of the last group, which takes long to import.
	key     pkcs11.ObjectHandle
	modulus []byte
}

// judge compares the outcome of a vector with what it has to be: err is nil if it
// was accepted. refusals are the codes with which it may be refused. except names
// an exception that is expected whatever the vector's result, or is empty.
func (f *file) judge(v vector, except string, err error, refusals ...pkcs11.Error) {
	f.t.Helper()
	fail := func(format string, args ...any) {
		f.t.Helper()
		f.t.Errorf("%s %d, %s (%s, %v): %s", f.name, v.ID, v.Result, v.Comment, v.Flags, fmt.Sprintf(format, args...))
	}
	if except != "" {
		e, ok := exceptions[except]
		switch {
		case !ok:
			fail("there is no exception %q", except)
		case e.code == 0 && err != nil || e.code != 0 && (err == nil || pkcs11.CodeOf(err) != e.code):
			fail("%v; want %v: %s", err, e.code, e.reason)
		default:
			f.except[except]++
		}
		return
	}
	accept := v.Result == "valid"
	if v.Result == "acceptable" {
		accept = true
		for _, flag := range v.Flags {
			p, ok := policy[flag]
			if !ok {
				fail("no policy for flag %q", flag)
				return
			}
			accept = accept && p
		}
	}
	switch {
	case accept && err != nil:
		fail("refused: %v", err)
	case !accept && err == nil:
		fail("accepted")
	case !accept && !isOne(err, refusals):
		fail("refused with %v; want one of %v", err, refusals)
	case v.Result == "valid":
		f.valid++
	case v.Result == "invalid":
		f.invalid++
	case accept:
		f.accepted++
	default:
		f.refused++
	}
}

// TestWycheproof goes through all files. One that is neither run nor listed as
// not run fails the test: vectors that are new want a decision.
func TestWycheproof(t *testing.T) {
	names, err := fs.Glob(wycheproof.TestVectors, "*.json")
	must(t, err)
	module, slot := newModule(t)
	var mu sync.Mutex
	all := map[string]counts{}
	used := map[string]bool{}
	t.Run("files", func(t *testing.T) {
		for _, name := range names {
			f, pattern := find(t, name)
			used[pattern] = true
			if f == nil || slow && tooSlow(name) {
				continue
			}
			t.Run(strings.TrimSuffix(name, "_test.json"), func(t *testing.T) {
				t.Parallel()
				c := runFile(t, module, slot, name, f)
				mu.Lock()
				defer mu.Unlock()
				all[name] = c
			})
		}
	})
	for _, list := range [][]string{slices.Collect(maps.Keys(runs)), slices.Collect(maps.Keys(notRun))} {
		for _, pattern := range list {
			if !used[pattern] {
				t.Errorf("no file is like %s", pattern)
			}
		}
	}
	sum := counts{except: map[string]int{}}
	n := 0
	for _, c := range all {
		n += c.total()
		sum.valid, sum.invalid = sum.valid+c.valid, sum.invalid+c.invalid
		sum.accepted, sum.refused = sum.accepted+c.accepted, sum.refused+c.refused
		for k, v := range c.except {
			sum.except[k] += v
		}
	}
	t.Logf("%d vectors of %d files: %v", n, len(all), sum)
	for name, e := range exceptions {
		if sum.except[name] == 0 && !slow {
			t.Errorf("the exception %s, %s, was not met", name, e.reason)
		}
	}
	if !t.Failed() {
		checkOutcomes(t, all)
	}
}

func runFile(t *testing.T, module cryptoki.Module, slot pkcs11.SlotID, name string, run func(*file)) counts {
	f := &file{session: openSession(t, module, slot), name: name, counts: counts{except: map[string]int{}}}
	run(f)
	total := 0
	for _, g := range groups[struct{ Tests []struct{} }](t, name) {
		total += len(g.Tests)
	}
	if n := f.total(); n != total && !t.Failed() {
		t.Errorf("%d of %d vectors were gone through", n, total)
	}
	t.Log(f.counts)
	return f.counts
}

// find returns how the vectors of a file are gone through, and by which pattern
// that was found.
func find(t *testing.T, name string) (run func(*file), pattern string) {
	t.Helper()
	var found []string
	for p, r := range runs {
		if match(p, name) {
			found, run = append(found, p), r
		}
	}
	for p := range notRun {
		if match(p, name) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s is found %d times among what is run and what is not, by %v", name, len(found), found)
	}
	return run, found[0]
}

// match is path.Match of any of several patterns.
func match(patterns, name string) bool {
	for p := range strings.FieldsSeq(patterns) {
		if ok, _ := path.Match(p+"_test.json", name); ok {
			return true
		}
	}
	return false
}

const outcomes = "testdata/outcomes.txt"

// checkOutcomes compares the counts with the committed ones.
func checkOutcomes(t *testing.T, all map[string]counts) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s: %v\n", strings.TrimSuffix(name, "_test.json"), all[name])
	}
	if *update && !slow {
		must(t, os.WriteFile(outcomes, []byte(b.String()), 0o666))
		return
	}
	want, err := os.ReadFile(outcomes)
	must(t, err)
	have, lines := strings.Split(b.String(), "\n"), 0
	in := bufio.NewScanner(strings.NewReader(string(want)))
	for in.Scan() {
		name, _, _ := strings.Cut(in.Text(), ":")
		if slow && tooSlow(name) {
			continue
		}
		lines++
		if !slices.Contains(have, in.Text()) {
			t.Errorf("%s says %q, which is not so now; -args -update writes it anew", outcomes, in.Text())
		}
	}
	if lines != len(all) {
		t.Errorf("%s has %d lines, there were %d files", outcomes, lines, len(all))
	}
}
