package main

import (
	"bytes"
	"encoding/pem"
	"os"
	"testing"
)

// Whatever a file holds, it is named or refused; PEM gives back its blocks.
func FuzzParseBlocks(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN X"))
	f.Add([]byte{0x30, 3, 2, 1, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks, err := parseBlocks(data)
		if (err == nil) != (len(blocks) > 0) {
			t.Fatalf("%q: %d blocks and error %v", data, len(blocks), err)
		}
		for _, b := range blocks {
			if b.kind == "" {
				t.Fatalf("%q: a block without a name", data)
			}
			if b.typ == "" && !bytes.Equal(b.der, data) {
				t.Fatalf("%q: DER that is not the file", data)
			}
		}
		for _, want := range []kind{kindCertificate, kindPrivate, kindPublic} {
			if len(blocks) == 0 {
				continue
			}
			found, err := pick("f", blocks, want)
			if (err == nil) != (len(found) > 0) {
				t.Fatalf("%q: %s: %d blocks and error %v", data, want, len(found), err)
			}
		}
	})
}

// A result is written whole or not at all, with the permissions asked for.
func TestWriteOutput(t *testing.T) {
	t.Chdir(t.TempDir())
	a := &app{}
	if err := os.WriteFile("f", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := a.writeOutput("f", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile("f"); string(data) != "secret" {
		t.Errorf("the file holds %q", data)
	}
	if info, _ := os.Stat("f"); info.Mode().Perm() != 0o600 {
		t.Errorf("a file that others could read before has mode %o", info.Mode().Perm())
	}
	// Whatever is in the way stays, and so does the file.
	if err := os.WriteFile("f.tmp", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := a.writeOutput("f", []byte("other"), 0o644); err == nil {
		t.Error("wrote over f.tmp")
	}
	for name, want := range map[string]string{"f": "secret", "f.tmp": "mine"} {
		if data, _ := os.ReadFile(name); string(data) != want {
			t.Errorf("%s holds %q, want %q", name, data, want)
		}
	}
	if err := a.writeOutput(".", nil, 0o644); err == nil {
		t.Error("wrote to a directory")
	}
}

func TestReadBlocksCountsDamage(t *testing.T) {
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	bad := bytes.Replace(good, []byte("-----END"), []byte("-----ENX"), 1)
	if _, err := parseBlocks(append(bytes.Clone(good), bad...)); err == nil {
		t.Error("a file of which one block is damaged passes")
	}
}
