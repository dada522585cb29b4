package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/internal/backup"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cryptoki":     cheapMain,
		"unprivileged": unprivileged,
		"withfd":       withFD,
	})
}

// cheapMain is the command, but for what PINs and the password of a backup cost.
func cheapMain() {
	soft.DefaultKDF = soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}
	backupKDF = backup.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}
	main()
}

// TestStories runs what users want to do: testdata/script. Beside the commands
// of testscript there are those below, and
//
//	unprivileged command…  runs it without root's right to pass over permissions
//	withfd N file command… runs it with the file as descriptor N
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// An environment in which nothing but what the story says is set.
			env.Setenv("TOKEN", filepath.Join(env.WorkDir, "token"))
			env.Setenv("CRYPTOKI_TOKEN", "soft:dir="+filepath.Join(env.WorkDir, "token"))
			env.Setenv("CREDENTIALS_DIRECTORY", "")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			install, known := programs[cond]
			if !known {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			if _, err := exec.LookPath(cond); err != nil {
				if need.All() {
					return false, fmt.Errorf("%s is not installed: apt-get install %s", cond, install)
				}
				return false, nil
			}
			return true, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pin":         cmdPIN,
			"newtoken":    cmdNewToken,
			"snapshot":    cmdSnapshot,
			"unchanged":   cmdUnchanged,
			"truncate":    cmdTruncate,
			"flip":        cmdFlip,
			"size":        cmdSize,
			"mode":        cmdMode,
			"differ":      cmdDiffer,
			"ca":          cmdCA,
			"issue":       cmdIssue,
			"extractable": cmdExtractable,
			"documented":  cmdDocumented,
			"json":        cmdJSON,
			"status":      cmdStatus,
			"chip":        cmdChip,
			"tpm":         func(ts *testscript.TestScript, neg bool, args []string) { cmdTPM(t, ts, neg, args) },
		},
	})
}

// pin file text: writes a PIN to a file that only its owner can read.
func cmdPIN(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pin file text")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o600))
}

// newtoken: makes the token "gateway" in the directory token, user PIN in
// user.pin and SO PIN in so.pin. A PIN costs less than it should, as in cheapMain.
func cmdNewToken(ts *testscript.TestScript, neg bool, args []string) {
	cmdPIN(ts, false, []string{"user.pin", "1357-user"})
	cmdPIN(ts, false, []string{"so.pin", "2468-so"})
	store, err := fileflash.Open(ts.MkAbs("token"), &fileflash.Options{Create: true})
	ts.Check(err)
	defer store.Close()
	device, err := soft.New(store, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
	ts.Check(err)
	m, err := cryptoki.NewModule(nil, device)
	ts.Check(err)
	defer m.Close()
	ctx := context.Background()
	slots, err := m.Slots(ctx, true)
	ts.Check(err)
	token, err := cryptoki.NewToken(ctx, m, slots[0], nil)
	ts.Check(err)
	defer token.Close()
	ts.Check(token.Initialize(ctx, cryptoki.Setup{Label: "gateway", SOPIN: []byte("2468-so"), UserPIN: []byte("1357-user")}))
}

// programs are those that a story may need, with the packages they are in.
var programs = map[string]string{
	"openssl":       "openssl",
	"swtpm":         "swtpm",
	"p11-kit":       "p11-kit p11-kit-modules",
	"pkcs11-tool":   "opensc",
	"softhsm2-util": "softhsm2",
}

// snapshotOf returns what the directory holds: the records of a token, but for
// the count of tries, which each login writes, and the inventory, which each change
// does; the bytes of the files if that is no token or a damaged one.
func snapshotOf(ts *testscript.TestScript, dir string) map[string]string {
	all := map[string]string{}
	root := ts.MkAbs(dir)
	if store, err := fileflash.Open(root, &fileflash.Options{ReadOnly: true}); err == nil {
		defer store.Close()
		names, err := store.Names()
		for _, name := range names {
			data, lerr := store.Load(name)
			err = errors.Join(err, lerr)
			if name != "tries" && name != "inventory" {
				all[name] = hex.EncodeToString(data)
			}
		}
		if err == nil {
			return all
		}
		clear(all)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) && path == root {
			return nil // a directory that is not there is a state too
		}
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, root)] = hex.EncodeToString(data)
		return err
	})
	ts.Check(err)
	return all
}

// status N command…: runs the command, as exec does, and fails unless its exit
// status is N.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// snapshot dir: remembers what the directory holds, for unchanged.
func cmdSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: snapshot dir")
	}
	b, err := json.Marshal(snapshotOf(ts, args[0]))
	ts.Check(err)
	ts.Setenv("SNAPSHOT_"+args[0], string(b))
}

// unchanged dir: fails if the directory does not hold what it held at the
// snapshot, byte by byte.
func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] unchanged dir")
	}
	now, err := json.Marshal(snapshotOf(ts, args[0]))
	ts.Check(err)
	then := ts.Getenv("SNAPSHOT_" + args[0])
	if then == "" {
		ts.Fatalf("unchanged: no snapshot of %s", args[0])
	}
	if same := string(now) == then; same == neg {
		ts.Fatalf("%s: unchanged is %v", args[0], same)
	}
}

// truncate file n: cuts n bytes off the end, which is before the zeros behind it.
func cmdTruncate(ts *testscript.TestScript, neg bool, args []string) {
	path, n := fileAndNumber(ts, "truncate", args)
	data, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, int64(len(bytes.TrimRight(data, "\x00")))-n))
}

// flip file pattern n: inverts a bit n bytes behind the last match.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: flip file pattern n")
	}
	path, n := fileAndNumber(ts, "flip", []string{args[0], args[2]})
	data, err := os.ReadFile(path)
	ts.Check(err)
	found := regexp.MustCompile(args[1]).FindAllIndex(data, -1)
	if found == nil {
		ts.Fatalf("%s: no match for %s", args[0], args[1])
	}
	data[int64(found[len(found)-1][1])+n] ^= 0x10
	ts.Check(os.WriteFile(path, data, 0o600))
}

// size file n: fails if the file has another size.
func cmdSize(ts *testscript.TestScript, neg bool, args []string) {
	path, n := fileAndNumber(ts, "size", args)
	info, err := os.Stat(path)
	ts.Check(err)
	if info.Size() != n {
		ts.Fatalf("%s has %d bytes", args[0], info.Size())
	}
}

func fileAndNumber(ts *testscript.TestScript, cmd string, args []string) (string, int64) {
	if len(args) != 2 {
		ts.Fatalf("usage: %s file n", cmd)
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	return ts.MkAbs(args[0]), n
}

// mode file octal: fails if the file has other permissions.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s", args[0], got)
	}
}

// differ a b: fails if the files are equal.
func cmdDiffer(ts *testscript.TestScript, neg bool, args []string) {
	if ts.ReadFile(args[0]) == ts.ReadFile(args[1]) {
		ts.Fatalf("%s and %s are the same", args[0], args[1])
	}
}

// ca name [issuer]: makes name.pem and name.key, a CA; self-signed, or issued by
// another one.
func cmdCA(ts *testscript.TestScript, neg bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: args[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := template, crypto.Signer(key)
	if len(args) > 1 {
		parent, signer = readCA(ts, args[1])
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	ts.Check(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	writePEM(ts, args[0]+".pem", "CERTIFICATE", der)
	writePEM(ts, args[0]+".key", "PRIVATE KEY", pkcs8)
}

func readCA(ts *testscript.TestScript, name string) (*x509.Certificate, crypto.Signer) {
	block, _ := pem.Decode([]byte(ts.ReadFile(name + ".pem")))
	cert, err := x509.ParseCertificate(block.Bytes)
	ts.Check(err)
	block, _ = pem.Decode([]byte(ts.ReadFile(name + ".key")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ts.Check(err)
	return cert, key.(crypto.Signer)
}

func writePEM(ts *testscript.TestScript, name, typ string, der []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600))
}

// issue ca csr out [days]: checks a request and issues the certificate, valid for so
// many days from yesterday on.
func cmdIssue(ts *testscript.TestScript, neg bool, args []string) {
	cert, key := readCA(ts, args[0])
	block, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		ts.Fatalf("%s is no certificate request in PEM", args[1])
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	ts.Check(err)
	ts.Check(csr.CheckSignature())
	days := 30
	if len(args) > 3 {
		days, err = strconv.Atoi(args[3])
		ts.Check(err)
	}
	start := time.Now().Add(-24 * time.Hour)
	if days <= 0 {
		start = start.Add(-1000 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), RawSubject: csr.RawSubject,
		DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, URIs: csr.URIs,
		NotBefore: start, NotAfter: time.Now().Add(time.Duration(days-1) * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, cert, csr.PublicKey, key)
	ts.Check(err)
	writePEM(ts, args[2], "CERTIFICATE", der)
}

// extractable label ec|rsa|ed25519: makes a key pair that may leave the token,
// as a program can.
func cmdExtractable(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	token, err := cryptoki.Open(ctx, ts.Getenv("CRYPTOKI_TOKEN"), &cryptoki.Options{PIN: cryptoki.PINFromFile(ts.MkAbs("user.pin"))})
	ts.Check(err)
	defer token.Close()
	s, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
	ts.Check(err)
	defer s.Close()
	m := pkcs11.CKM_EC_KEY_PAIR_GEN
	public := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, args[0]), pkcs11.Attr(pkcs11.CKA_VERIFY, true)}
	switch args[1] {
	case "ec":
		public = append(public, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}))
	case "ed25519":
		m = pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN
		public = append(public, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{6, 3, 0x2b, 0x65, 0x70}))
	case "rsa":
		m = pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
		public = append(public, pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, 2048))
	}
	_, _, err = s.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: m}, public, pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, args[0]), pkcs11.Attr(pkcs11.CKA_SIGN, true),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, false), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)})
	ts.Check(err)
}

// json path value: compares a value in the JSON on standard output, as in
// imported.0.label; "len" is the length of an array.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] json path value")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("standard output is no JSON: %v", err)
	}
	for part := range strings.SplitSeq(args[0], ".") {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[part]; !ok {
				ts.Fatalf("%s: there is no %q", args[0], part)
			}
		case []any:
			if part == "len" {
				v = len(x)
				continue
			}
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(x) {
				ts.Fatalf("%s: there is no %q in an array of %d", args[0], part, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: %q is not inside of anything", args[0], part)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	ts.Check(enc.Encode(v))
	got := strings.Trim(strings.TrimSpace(b.String()), `"`)
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

// documented command: fails if the JSON on standard output has fields that the
// help of the command does not explain, or lacks one that it does.
func cmdDocumented(ts *testscript.TestScript, neg bool, args []string) {
	c := named(strings.Join(args, " "))
	var have map[string]any
	out := []byte(ts.ReadFile("stdout"))
	if c.array {
		var list []map[string]any
		ts.Check(json.Unmarshal(out, &list))
		have = map[string]any{}
		for _, x := range list {
			for k, v := range x {
				have[k] = v
			}
		}
	} else {
		ts.Check(json.Unmarshal(out, &have))
	}
	for _, f := range c.json {
		if _, ok := have[f.name]; !ok {
			ts.Fatalf("the help of %s explains %q, which is not there", c.name, f.name)
		}
		delete(have, f.name)
	}
	for name := range have {
		ts.Fatalf("%q is not explained in the help of %s", name, c.name)
	}
}

// withFD runs a command with a file as descriptor N.
func withFD() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	f, err := os.Open(os.Args[2])
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(os.Args[3], os.Args[4:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if n == 0 {
		cmd.Stdin = f
	} else {
		cmd.ExtraFiles = make([]*os.File, n-2)
		cmd.ExtraFiles[n-3] = f
	}
	if err := cmd.Run(); err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			os.Exit(e.ExitCode())
		}
		panic(err)
	}
}

// chip name: a simulated chip on the socket chip.sock until the story ends, with
// the chips of atecc-sim by their names.
func cmdChip(ts *testscript.TestScript, neg bool, args []string) {
	make, ok := map[string]func([9]byte, io.Reader) (*ateccsim.State, error){
		"blank":     func(serial [9]byte, _ io.Reader) (*ateccsim.State, error) { return ateccsim.Blank(serial), nil },
		"generic":   ateccsim.Generic,
		"trustflex": ateccsim.TrustFLEX,
		"trustgo":   ateccsim.TrustGO,
	}[strings.Join(args, " ")]
	if neg || !ok {
		ts.Fatalf("usage: chip blank|generic|trustflex|trustgo")
	}
	state, err := make(ateccsim.DefaultSerial, nil)
	ts.Check(err)
	chip, err := ateccsim.New(state, nil)
	ts.Check(err)
	l, err := net.Listen("unix", ts.MkAbs("chip.sock"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := ateccsimServe(ctx, l, chip)
	ts.Defer(func() { cancel(); <-done })
}

// tpm: starts a software TPM, whose socket is in $TPM.
// tpm wipe: makes another one of it.
func cmdTPM(t *testing.T, ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg || len(args) > 1:
		ts.Fatalf("usage: tpm [wipe]")
	case len(args) == 0:
		sim := tpmtest.Start(t)
		sim.Disconnect()
		ts.Setenv("TPM", sim.Socket())
		tpms.Store(sim.Socket(), sim)
	case args[0] == "wipe":
		found, ok := tpms.Load(ts.Getenv("TPM"))
		if !ok {
			ts.Fatalf("there is no TPM")
		}
		sim := found.(*tpmtest.TPM)
		sim.Kill()
		sim.Wipe()
		sim.Restart()
		sim.Disconnect()
	default:
		ts.Fatalf("usage: tpm [wipe]")
	}
}

var tpms sync.Map // *tpmtest.TPM, by their sockets

func ateccsimServe(ctx context.Context, l net.Listener, chip *ateccsim.Chip) <-chan error {
	done := make(chan error, 1)
	go func() { done <- ateccsim.Serve(ctx, l, chip) }()
	return done
}
