package atecc608_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// nobody is a bus without devices.
type nobody struct{}

func (nobody) String() string                  { return "empty" }
func (nobody) Tx(uint16, []byte, []byte) error { return ateccsim.ErrNACK }
func (nobody) SetSpeed(physic.Frequency) error { return nil }

// stranger is a device that has the chip's address.
type stranger struct{ nobody }

func (stranger) Tx(addr uint16, w, r []byte) error {
	if addr != 0x60 {
		return ateccsim.ErrNACK
	}
	for i := range r {
		r[i] = 0x5A
	}
	return nil
}

func TestDiagnose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := func(r ...ateccsim.Rule) *ateccsim.Options {
			return &ateccsim.Options{Faults: ateccsim.NewFaults(7, r...)}
		}
		good := provisioned(t)
		unlocked, half, unsafe, mute, tested := *ateccsim.Blank(ateccsim.DefaultSerial), *good, *good, *good, *good
		half.Config[86] = 0x55
		unsafe.Config[20+2*6] &^= 0x80 // the I/O protection key can be read
		for n := range 5 {
			mute.Config[20+2*n] &^= 1
		}
		tested.Config[90] |= 1
		for _, tt := range []struct {
			what      string
			bus       i2c.Bus
			opts      atecc608.Options
			name, has string // of the last finding that is not good
		}{
			{"a chip as it should be", newChip(t, good, nil), atecc608.Options{}, "", ""},
			{"nothing at the address", nobody{}, atecc608.Options{Chip: atecc.Opts{Address: 0x60}}, "chip", "nothing answers at 0x60"},
			{"an empty bus", nobody{}, atecc608.Options{}, "chip", "0x60, 0x35, 0x36, 0x59"},
			{"another address", newChip(t, good, nil), atecc608.Options{Chip: atecc.Opts{Address: 0x35}}, "address", "a chip does at 0x60"},
			{"a bus that is too fast", newChip(t, good, &ateccsim.Options{Speed: 400 * physic.KiloHertz}), atecc608.Options{}, "speed", "too fast"},
			{"a stuck bus", newChip(t, good, rules(ateccsim.Rule{Kind: ateccsim.StuckBus})), atecc608.Options{}, "bus", "stuck"},
			{"a chip that wakes now and then", newChip(t, good, rules(ateccsim.Rule{Kind: ateccsim.DropWake, Rate: 0.5})), atecc608.Options{}, "wake", "of 6 wake pulses"},
			{"something that does not wake", stranger{}, atecc608.Options{}, "wake", "0x60 is there and does not wake"},
			{"a self-test that fails", newChip(t, &tested, rules(ateccsim.Rule{Kind: ateccsim.SelfTest})), atecc608.Options{}, "self-test", "self-test failed"},
			{"a configuration that is not locked", newChip(t, &unlocked, nil), atecc608.Options{}, "config-lock", "not locked"},
			{"data that is not locked", newChip(t, &half, nil), atecc608.Options{}, "data-lock", "not locked"},
			{"a policy that shows a key", newChip(t, &unsafe, nil), atecc608.Options{}, "policy", "slot 6"},
			{"a policy without keys that sign", newChip(t, &mute, nil), atecc608.Options{}, "policy", "no slot has a private key that signs"},
			{"a dead generator", newChip(t, good, rules(ateccsim.Rule{Kind: ateccsim.HealthTest})), atecc608.Options{}, "rng", "health test"},
			{"a generator that repeats itself", newChip(t, good, &ateccsim.Options{Random: same{}}), atecc608.Options{}, "rng", "twice"},
		} {
			found := atecc608.Diagnose(t.Context(), tt.bus, &tt.opts)
			var worst driver.Finding
			for _, f := range found {
				if (f.Severity == driver.Good) != (f.Cure == "") || f.Name == "" || f.Text == "" || strings.Contains(f.Text+f.Cure, "\n") {
					t.Errorf("%s: finding %+v", tt.what, f)
				}
				// That the I/O protection key can be replaced is true of all of them.
				if f.Severity > worst.Severity && f.Name != "io-key" {
					worst = f
				}
			}
			if worst.Name != tt.name || !strings.Contains(worst.Text, tt.has) {
				t.Errorf("%s: %+v\nof %v\nwant %q with %q", tt.what, worst, found, tt.name, tt.has)
			}
		}
	})
}

type same struct{}

func (same) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 0x42
	}
	return len(b), nil
}

// The store and the chip are compared.
func TestDiagnoseStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, false)
		state := *s.state
		look := func() []driver.Finding {
			return atecc608.Diagnose(t.Context(), newChip(t, &state, nil), &atecc608.Options{Store: s.store(t)})
		}
		if f := last(look()); f.Name != "store" || f.Severity != driver.Good {
			t.Errorf("a store that belongs to the chip: %+v", f)
		}
		rand.Read(state.Slot(0)[4:36]) // another key
		if f := worst(look()); f.Name != "keys" || !strings.Contains(f.Text, `slot 0 holds another key than "Device Priv TLS Key"`) {
			t.Errorf("another key in the slot: %+v", f)
		}
		state.Config[2]++
		if f := worst(look()); f.Name != "store" || !strings.Contains(f.Text, "belongs to the chip") {
			t.Errorf("another chip: %+v", f)
		}
		if f := worst(atecc608.Diagnose(t.Context(), newChip(t, &state, nil), &atecc608.Options{Store: new(pal.Mem)})); f.Severity == driver.Problem {
			t.Errorf("an empty store: %+v", f)
		}
	})
}

func last(list []driver.Finding) driver.Finding { return list[len(list)-1] }

func worst(list []driver.Finding) (w driver.Finding) {
	for _, f := range list {
		if f.Severity > w.Severity && f.Name != "io-key" {
			w = f
		}
	}
	return w
}

// By name: no bus, no permission, and a bus on a socket.
func TestDiagnoseByName(t *testing.T) {
	dir := reachableDir(t)
	look := func(name string) []driver.Finding {
		t.Helper()
		list, err := driver.Diagnose(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if f := worst(look("atecc608:bus=31997")); f.Name != "bus" || !strings.Contains(f.Cure, "modprobe i2c-dev") {
		t.Errorf("no bus: %+v", f)
	}
	socket := filepath.Join(dir, "chip.sock")
	if f := worst(look("atecc608:bus=unix:" + socket)); f.Name != "bus" || !strings.Contains(f.Cure, "atecc-sim") {
		t.Errorf("no socket: %+v", f)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	chip := newChip(t, provisioned(t), nil)
	go func() { done <- ateccsim.Serve(ctx, l, chip) }()
	defer func() { cancel(); <-done }()
	if f := worst(look("atecc608:bus=unix:" + socket)); f.Severity != driver.Good {
		t.Errorf("a chip on a socket: %+v", f)
	}
	// Root may do everything, so it looks as somebody else.
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	f := diagnoseAsUser(t, "atecc608:bus=unix:"+socket)
	if f.Name != "permission" || f.Severity != driver.Problem || !strings.Contains(f.Cure, "usermod -aG i2c") {
		t.Errorf("no permission: %+v", f)
	}
	if _, err := driver.Diagnose(t.Context(), "atecc608:bus=1;adress=0x60"); err == nil || !strings.Contains(fmt.Sprint(err), "adress") {
		t.Errorf("an unknown parameter: %v", err)
	}
}

// diagnoseAsUser has a child process look, which is not root, and returns the worst
// that it finds.
func diagnoseAsUser(t *testing.T, name string) (f driver.Finding) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), childEnv+"="+name)
	if os.Geteuid() == 0 {
		b, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		c.Path = filepath.Join(reachableDir(t), "test")
		if err := errors.Join(os.WriteFile(c.Path, b, 0o755), os.Chmod(c.Path, 0o755)); err != nil {
			t.Fatal(err)
		}
		asNobody(c)
		c.Dir = "/"
	}
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return f
}

// reachableDir is a directory that every user may look into.
func reachableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "atecc608")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const childEnv = "ATECC608_TEST_DIAGNOSE"

// TestMain is also the child of diagnoseAsUser.
func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		list, err := driver.Diagnose(context.Background(), name)
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(worst(list))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}
