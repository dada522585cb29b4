//go:build cgo && linux

package softhsm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	cryptoki "github.com/go-cryptoki/cryptoki"
	_ "github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/internal/need"
	ck "github.com/go-cryptoki/cryptoki/pkcs11"
)

const (
	soPIN   = "12345678"
	userPIN = "87654321"
)

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// peer is a new SoftHSM2 token with a session that is logged in.
type peer struct {
	p *pkcs11.Ctx
	s pkcs11.SessionHandle
}

// modules are where distributions have SoftHSM2.
var modules = []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"}

func newPeer(tb testing.TB) *peer {
	tb.Helper()
	module := need.File(tb, "softhsm2", modules...)
	dir := tb.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	must(tb, os.Mkdir(filepath.Join(dir, "tokens"), 0o700))
	must(tb, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens")), 0o600))
	tb.Setenv("SOFTHSM2_CONF", conf)
	p := pkcs11.New(module)
	if p == nil {
		tb.Fatalf("%s cannot be loaded", module)
	}
	must(tb, p.Initialize())
	tb.Cleanup(func() { p.Finalize(); p.Destroy() })
	slots, err := p.GetSlotList(true)
	must(tb, err)
	must(tb, p.InitToken(slots[0], soPIN, "bench"))
	slots, err = p.GetSlotList(true)
	must(tb, err)
	s, err := p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(tb, err)
	must(tb, p.Login(s, pkcs11.CKU_SO, soPIN))
	must(tb, p.InitPIN(s, userPIN))
	must(tb, p.Logout(s))
	must(tb, p.Login(s, pkcs11.CKU_USER, userPIN))
	return &peer{p, s}
}

// newOurs is a new token of ours with a session that is logged in.
func newOurs(tb testing.TB) cryptoki.Session {
	tb.Helper()
	ctx := tb.Context()
	token, err := cryptoki.Open(ctx, "soft:create=true;dir="+filepath.Join(tb.TempDir(), "token"), nil)
	must(tb, err)
	tb.Cleanup(func() { token.Close() })
	must(tb, token.Initialize(ctx, cryptoki.Setup{Label: "bench", SOPIN: []byte(soPIN), UserPIN: []byte(userPIN)}))
	s, err := token.Module().OpenSession(ctx, token.Slot(), ck.CKF_SERIAL_SESSION|ck.CKF_RW_SESSION)
	must(tb, err)
	must(tb, s.Login(ctx, ck.CKU_USER, []byte(userPIN)))
	return s
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

var value = bytes.Repeat([]byte{0x5a}, 256)

func (p *peer) createData(tb testing.TB, i int) pkcs11.ObjectHandle {
	h, err := p.p.CreateObject(p.s, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, fmt.Sprint("data ", i)), pkcs11.NewAttribute(pkcs11.CKA_VALUE, value),
	})
	must(tb, err)
	return h
}

func createData(tb testing.TB, s cryptoki.Session, i int) ck.ObjectHandle {
	h, err := s.CreateObject(tb.Context(), ck.Template{
		ck.Attr(ck.CKA_CLASS, ck.CKO_DATA), ck.Attr(ck.CKA_TOKEN, true),
		ck.Attr(ck.CKA_LABEL, fmt.Sprint("data ", i)), ck.Attr(ck.CKA_VALUE, value),
	})
	must(tb, err)
	return h
}

func (p *peer) generatePair(tb testing.TB, i int) {
	label := pkcs11.NewAttribute(pkcs11.CKA_LABEL, fmt.Sprint("key ", i))
	id := pkcs11.NewAttribute(pkcs11.CKA_ID, fmt.Append(nil, i))
	token := pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)
	_, _, err := p.p.GenerateKeyPair(p.s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{token, label, id, pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256)},
		[]*pkcs11.Attribute{token, label, id, pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)})
	must(tb, err)
}

func generatePair(tb testing.TB, s cryptoki.Session, i int) {
	label, id, token := ck.Attr(ck.CKA_LABEL, fmt.Sprint("key ", i)), ck.Attr(ck.CKA_ID, fmt.Append(nil, i)), ck.Attr(ck.CKA_TOKEN, true)
	_, _, err := s.GenerateKeyPair(tb.Context(), &ck.Mechanism{Type: ck.CKM_EC_KEY_PAIR_GEN},
		ck.Template{token, label, id, ck.Attr(ck.CKA_VERIFY, true), ck.Attr(ck.CKA_EC_PARAMS, p256)},
		ck.Template{token, label, id, ck.Attr(ck.CKA_SIGN, true)})
	must(tb, err)
}

// TestSameObjects holds the two to the same work: what is compared below creates
// the same objects on both.
func TestSameObjects(t *testing.T) {
	theirs, ours := newPeer(t), newOurs(t)
	theirs.createData(t, 1)
	createData(t, ours, 1)
	theirs.generatePair(t, 1)
	generatePair(t, ours, 1)
	must(t, theirs.p.FindObjectsInit(theirs.s, nil))
	handles, _, err := theirs.p.FindObjects(theirs.s, 10)
	must(t, err)
	must(t, theirs.p.FindObjectsFinal(theirs.s))
	must(t, ours.FindObjectsInit(t.Context(), nil))
	n, err := ours.FindObjects(t.Context(), make([]ck.ObjectHandle, 10))
	must(t, err)
	if len(handles) != 3 || n != 3 {
		t.Errorf("SoftHSM2 has %d objects, ours %d; want 3 of each", len(handles), n)
	}
}

// compare lets both do n operations in turn.
func compare(b *testing.B, n int, theirs, ours func(i int)) {
	next := 0
	turn := func(f func(int)) float64 {
		start := time.Now()
		for range n {
			f(next)
			next++
		}
		return time.Since(start).Seconds() / float64(n)
	}
	turn(theirs)
	turn(ours)
	var ratio, control, our, their []float64
	for i := 0; b.Loop(); i++ {
		var t [3]float64
		for _, k := range [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}}[i%3] {
			if k == 0 {
				t[k] = turn(theirs)
			} else {
				t[k] = turn(ours)
			}
		}
		ratio, control = append(ratio, t[0]/t[1]), append(control, t[1]/t[2])
		their, our = append(their, 1/t[0]), append(our, 1/t[1])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratio), "ratio")
	b.ReportMetric(median(control), "control")
	b.ReportMetric(median(our), "ours/s")
	b.ReportMetric(median(their), "softhsm/s")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkCreateData creates data objects of 256 bytes: the goal is 10 times.
func BenchmarkCreateData(b *testing.B) {
	theirs, ours := newPeer(b), newOurs(b)
	compare(b, 4, func(i int) { theirs.createData(b, i) }, func(i int) { createData(b, ours, i) })
}

// BenchmarkGenerateKeyPair generates P-256 key pairs: the goal is 30 times.
func BenchmarkGenerateKeyPair(b *testing.B) {
	theirs, ours := newPeer(b), newOurs(b)
	compare(b, 2, func(i int) { theirs.generatePair(b, i) }, func(i int) { generatePair(b, ours, i) })
}
