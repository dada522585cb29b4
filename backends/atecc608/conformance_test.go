package atecc608_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// few is what a chip with four slots for keys can bear.
var few = []conformance.Load{{Threads: 2, Loops: 4}}

// conform runs the suite in a bubble, in whose time a minute of the chip's is
// nothing, and compares the outcomes with those of the file. A case may end with
// one of the codes that may says, which is its outcome then.
func conform(t *testing.T, outcomes string, target func(testing.TB) conformance.Target, may ...pkcs11.Error) {
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
		for i, r := range report.Results {
			if code, ok := onlyOf(r, may); ok {
				report.Results[i].Outcome = conformance.Outcome(code.Error())
				continue
			}
			for _, f := range r.Failures {
				t.Errorf("%s %s: %v", r.ID, r.Name, f)
			}
		}
		t.Logf("%d of %d cases are for this profile and pass, in %v of the chip's time", report.Passed, len(report.Results), report.Duration)
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

// onlyOf is the one of the codes that is all that a case failed for.
func onlyOf(r conformance.Result, codes []pkcs11.Error) (pkcs11.Error, bool) {
	for _, code := range codes {
		if r.Outcome == conformance.Fail && !slices.ContainsFunc(r.Failures, func(f conformance.Failure) bool { return f.Got != code.Error() }) {
			return code, true
		}
	}
	return 0, false
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

// With the I/O protection key the chip takes keys from outside.
func TestConformanceWithIOKey(t *testing.T) {
	conform(t, "outcomes-import.txt", func(t testing.TB) conformance.Target {
		state := provisioned(t)
		return conformance.Target{
			Open:    opener(newChip(t, state, nil), new(pal.Mem), atecc608.Options{IOKey: state.Slot(6)[:32]}),
			Profile: conformance.Profile{EC: true, Generate: true, Import: true, JITP: true},
			Loads:   []conformance.Load{{Threads: 2, Loops: 2}},
		}
	})
}

func TestConformance(t *testing.T) {
	conform(t, "outcomes-generic.txt", generic(nil))
}

func TestConformanceRealistic(t *testing.T) {
	conform(t, "outcomes-generic.txt", generic(&ateccsim.Options{Timing: ateccsim.Realistic}))
}

// pre is a target with a chip that its vendor has provisioned: its key, the
// certificates of which are rebuilt, stays, and others are made beside it.
func pre(make func([9]byte, io.Reader) (*ateccsim.State, error), opts *ateccsim.Options) func(testing.TB) conformance.Target {
	return func(t testing.TB) conformance.Target {
		state, err := make(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{2}))
		if err != nil {
			t.Fatal(err)
		}
		return conformance.Target{
			Open:    opener(newChip(t, state, opts), new(pal.Mem), atecc608.Options{Free: []int{2, 3, 4}}),
			Profile: conformance.Profile{EC: true, Generate: true, Preprovisioned: true},
		}
	}
}

func TestConformanceTrustFLEX(t *testing.T) {
	conform(t, "outcomes-trustflex.txt", pre(ateccsim.TrustFLEX, nil))
}

func TestConformanceTrustFLEXRealistic(t *testing.T) {
	conform(t, "outcomes-trustflex.txt", pre(ateccsim.TrustFLEX, &ateccsim.Options{Timing: ateccsim.Realistic}))
}

func TestConformanceTrustGO(t *testing.T) {
	conform(t, "outcomes-trustgo.txt", pre(ateccsim.TrustGO, nil))
}

func TestConformanceTrustGORealistic(t *testing.T) {
	conform(t, "outcomes-trustgo.txt", pre(ateccsim.TrustGO, &ateccsim.Options{Timing: ateccsim.Realistic}))
}

// On a bad bus the outcomes are the same.
func TestConformanceOnABadBus(t *testing.T) {
	seeds := uint64(2)
	if slow {
		seeds = 1
	}
	for seed := range seeds {
		bad := func() *ateccsim.Options {
			return &ateccsim.Options{Timing: ateccsim.Realistic, Faults: ateccsim.NewFaults(seed,
				ateccsim.Rule{Kind: ateccsim.NACK, Rate: 0.01},
				ateccsim.Rule{Kind: ateccsim.CorruptIn, Rate: 0.001},
				ateccsim.Rule{Kind: ateccsim.CorruptOut, Rate: 0.001})}
		}
		t.Run(fmt.Sprintf("generic, seed %d", seed), func(t *testing.T) { conform(t, "outcomes-generic.txt", generic(bad())) })
		t.Run(fmt.Sprintf("TrustFLEX, seed %d", seed), func(t *testing.T) {
			conform(t, "outcomes-trustflex.txt", pre(ateccsim.TrustFLEX, bad()))
		})
		t.Run(fmt.Sprintf("Trust&GO, seed %d", seed), func(t *testing.T) { conform(t, "outcomes-trustgo.txt", pre(ateccsim.TrustGO, bad())) })
	}
}
