package drbg

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A vector is what a CAVS file says under one COUNT: names and values in their
// order.
type vector []struct {
	name  string
	value []byte
}

func vectors(t *testing.T, file string) (all []vector) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " =")
		switch {
		case !ok || strings.HasPrefix(name, "[") || strings.HasPrefix(name, "#"):
			continue
		case name == "COUNT":
			all = append(all, nil)
			continue
		}
		b, err := hex.DecodeString(strings.TrimSpace(value))
		if err != nil {
			t.Fatalf("%s: %s: %v", file, name, err)
		}
		v := &all[len(all)-1]
		*v = append(*v, struct {
			name  string
			value []byte
		}{name, b})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNISTVectors does what each vector of NIST says: instantiate, reseed, generate
// twice, and compare what came the second time.
func TestNISTVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.rsp")
	if err != nil || len(files) != 3 {
		t.Fatalf("files of vectors: %v, %v; want three", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			all := vectors(t, file)
			if len(all) != 16*15 {
				t.Fatalf("%d vectors, want 240", len(all))
			}
			for i, v := range all {
				if err := play(v); err != nil {
					t.Errorf("vector %d: %v", i, err)
				}
			}
		})
	}
}

func play(v vector) error {
	var d *CTR
	var entropy, nonce, reseed, additional, out []byte
	generate := func() error {
		out = make([]byte, 64)
		return d.Generate(out, additional)
	}
	pending := false // an AdditionalInput whose EntropyInputPR has not come
	for _, f := range v {
		if pending && f.name != "EntropyInputPR" {
			if err := generate(); err != nil {
				return err
			}
			pending = false
		}
		switch f.name {
		case "EntropyInput":
			entropy = f.value
		case "Nonce":
			nonce = f.value
		case "PersonalizationString":
			d = NewCTR(entropy, nonce, f.value)
		case "EntropyInputReseed":
			reseed = f.value
		case "AdditionalInputReseed":
			d.Reseed(reseed, f.value)
		case "AdditionalInput":
			additional, pending = f.value, true
		case "EntropyInputPR":
			d.Reseed(f.value, additional)
			additional, pending = nil, false
			if err := generate(); err != nil {
				return err
			}
		case "ReturnedBits":
			if !bytes.Equal(out, f.value) {
				return errors.New("got " + hex.EncodeToString(out) + "\nwant " + hex.EncodeToString(f.value))
			}
			return nil
		default:
			return errors.New("unknown field " + f.name)
		}
	}
	return errors.New("no ReturnedBits")
}

func TestLimits(t *testing.T) {
	d := NewCTR(make([]byte, 32), make([]byte, 16), nil)
	if err := d.Generate(make([]byte, maxRequest+1), nil); !errors.Is(err, errRequest) {
		t.Errorf("65537 bytes: %v, want %v", err, errRequest)
	}
	d.requests = maxRequests + 1
	if err := d.Generate(make([]byte, 1), nil); !errors.Is(err, errReseed) {
		t.Errorf("after 2^48 requests: %v, want %v", err, errReseed)
	}
	d.Reseed(make([]byte, 32), nil)
	if err := d.Generate(make([]byte, 1), nil); err != nil {
		t.Errorf("after Reseed: %v", err)
	}
	d.Wipe()
	if err := d.Generate(make([]byte, 1), nil); err == nil {
		t.Error("a wiped generator generates")
	}
}

// TestCarry has the counter overflow into its upper half, and out of it, in the
// middle of a request.
func TestCarry(t *testing.T) {
	for first, want := range map[byte][16]byte{
		0:    {0: 1, 15: 2},
		0xff: {15: 2},
	} {
		d := NewCTR(make([]byte, 32), nil, nil)
		for i := range d.v {
			d.v[i] = 0xff
		}
		d.v[0] = first
		d.v[15] = 0xfe
		if first == 0 {
			want[0] = 1
		}
		at := *d
		var got, blocks [64]byte
		d.stream(got[:])
		for i := 0; i < len(blocks); i += 16 {
			at.next(blocks[i:])
		}
		if got != blocks || d.v != at.v || d.v != want {
			t.Errorf("the counter is %x, by blocks %x, want %x; got %x, by blocks %x", d.v, at.v, want, got, blocks)
		}
	}
}

// TestPartialBlocks has the beginning of a longer request in a shorter one.
func TestPartialBlocks(t *testing.T) {
	whole := make([]byte, 64)
	if err := NewCTR([]byte("same"), nil, nil).Generate(whole, nil); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		part := make([]byte, n)
		if err := NewCTR([]byte("same"), nil, nil).Generate(part, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(part, whole[:n]) {
			t.Errorf("%d bytes: %x, want %x", n, part, whole[:n])
		}
	}
}
