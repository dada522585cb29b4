package atecc608_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/pal"
)

// few is what a chip with four slots for keys can bear.
var few = []conformance.Load{{Threads: 2, Loops: 4}}

// conform runs the suite in a bubble, in whose time a minute of the chip's is
// nothing, and compares the outcomes with those of the file.
func conform(t *testing.T, outcomes string, target func(testing.TB) conformance.Target) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		target := target(t)
		target.Destructive, target.Sequential, target.Deadline = true, true, time.Hour
		if target.Loads == nil {
			target.Loads = few
		}
		report, err := conformance.Check(t.Context(), target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range report.Results {
			for _, f := range r.Failures {
				t.Errorf("%s %s: %v", r.ID, r.Name, f)
			}
		}
		t.Logf("%d passed, %d skipped, in %v of the chip's time", report.Passed, report.Skipped, report.Duration)
		if t.Failed() || outcomes == "" {
			return
		}
		name := filepath.Join("testdata", outcomes)
		if f := flag.Lookup("conformance.update"); f != nil && f.Value.String() == "true" {
			if err := os.WriteFile(name, report.Outcomes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, report.Outcomes()) {
			t.Errorf("the outcomes are others than in %s; run the test with -conformance.update and look at the difference", name)
		}
	})
}

// generic is a target with a chip that was blank and is provisioned.
func generic(opts *ateccsim.Options) func(testing.TB) conformance.Target {
	return func(t testing.TB) conformance.Target {
		return conformance.Target{
			Open:    opener(newChip(t, provisioned(t), opts), new(pal.Mem), atecc608.Options{}),
			Profile: conformance.Profile{EC: true, Generate: true, JITP: true},
		}
	}
}

func TestConformance(t *testing.T) {
	conform(t, "outcomes-generic.txt", generic(nil))
}

func TestConformanceRealistic(t *testing.T) {
	conform(t, "outcomes-generic.txt", generic(&ateccsim.Options{Timing: ateccsim.Realistic}))
}
