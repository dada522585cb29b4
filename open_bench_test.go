package cryptoki_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// cheapKDF is next to nothing, so that the rest of a login shows.
var cheapKDF = soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}

// fullDir makes a directory with the token of n objects, key pairs of P-256.
func fullDir(b testing.TB, n int) string {
	b.Helper()
	dir, err := os.MkdirTemp(b.TempDir(), "token")
	if err != nil {
		b.Fatal(err)
	}
	m := openDir(b, dir)
	defer m.Close()
	token, err := cryptoki.NewToken(b.Context(), m, 1, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer token.Close()
	if err := token.Initialize(b.Context(), cryptoki.Setup{Label: "full", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
		b.Fatal(err)
	}
	s := openSession(b, m)
	if err := s.Login(b.Context(), pkcs11.CKU_USER, userPIN); err != nil {
		b.Fatal(err)
	}
	const writers = 8
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			s := openSession(b, m)
			for i := w; i < n/2; i += writers {
				if _, _, err := s.GenerateKeyPair(b.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pairPublic(i), pairPrivate(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return dir
}

func pairPublic(i int) pkcs11.Template {
	return pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_VERIFY, true), pkcs11.Attr(pkcs11.CKA_LABEL, fmt.Sprint("device key ", i)),
		pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}),
	}
}

func pairPrivate(i int) pkcs11.Template {
	return pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_SIGN, true), pkcs11.Attr(pkcs11.CKA_LABEL, fmt.Sprint("device key ", i)),
	}
}

// openDir opens the token in a directory.
func openDir(b testing.TB, dir string) cryptoki.Module {
	b.Helper()
	store, err := fileflash.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	token, err := soft.New(store, &soft.Options{KDF: cheapKDF})
	if err != nil {
		b.Fatal(err)
	}
	m, err := cryptoki.NewModule(nil, closingToken{token, store})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func openSession(b testing.TB, m cryptoki.Module) cryptoki.Session {
	s, err := m.OpenSession(b.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		b.Error(err)
		panic(err)
	}
	return s
}

// closingToken closes the store behind the token.
type closingToken struct {
	*soft.Token
	store *fileflash.Store
}

func (t closingToken) Close() error { t.Token.Close(); return t.store.Close() }

var _ driver.Token = closingToken{}

// BenchmarkOpen opens a token of n objects, half of them private, logs in with a
// PIN that costs nothing, and searches for a key by its label: 25 ms for 10,000
// objects, 250 ms for 100,000. What it reports are medians, in milliseconds:
//
//	ms         from nothing to the key found
//	best-ms    the same, when nobody else wanted the processors
//	login-ms   of it, the login
//	B/object   of memory then, less than 1,536
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := fullDir(b, n)
			var all, logins []float64
			var perObject float64
			b.ResetTimer()
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				start := time.Now()
				m := openDir(b, dir)
				s := openSession(b, m)
				at := time.Now()
				if err := s.Login(b.Context(), pkcs11.CKU_USER, userPIN); err != nil {
					b.Fatal(err)
				}
				logins = append(logins, msSince(at))
				if got := findPrivate(b, s, n/2-1); got != 1 {
					b.Fatalf("%d keys", got)
				}
				all = append(all, msSince(start))
				runtime.GC()
				runtime.ReadMemStats(&after)
				perObject = (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
				m.Close()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(all), "ms")
			b.ReportMetric(slices.Min(all), "best-ms")
			b.ReportMetric(median(logins), "login-ms")
			b.ReportMetric(perObject, "B/object")
		})
	}
}

func msSince(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1e3 }

func findPrivate(b testing.TB, s cryptoki.Session, i int) int {
	err := s.FindObjectsInit(b.Context(), pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), pkcs11.Attr(pkcs11.CKA_LABEL, fmt.Sprint("device key ", i)),
	})
	if err != nil {
		b.Fatal(err)
	}
	var found [2]pkcs11.ObjectHandle
	got, err := s.FindObjects(b.Context(), found[:])
	if err == nil {
		err = s.FindObjectsFinal(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	return got
}

// BenchmarkFind searches for private keys by label and class, each time for another
// one, in a token of n objects: at most 2 µs, and at 100,000 at most twice as long
// as at 10.
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := openDir(b, fullDir(b, n))
			defer m.Close()
			s := openSession(b, m)
			if err := s.Login(b.Context(), pkcs11.CKU_USER, userPIN); err != nil {
				b.Fatal(err)
			}
			var queries []pkcs11.Template
			for i := range min(n/2, 1000) {
				queries = append(queries, pkcs11.Template{
					pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)),
					pkcs11.Attr(pkcs11.CKA_LABEL, fmt.Sprint("device key ", i*(n/2)/min(n/2, 1000))),
				})
			}
			if got := findPrivate(b, s, 0); got != 1 { // the first search reads the objects
				b.Fatalf("%d keys", got)
			}
			runtime.GC() // of what that has left
			// As in a program that runs, the last change is not of just now.
			time.Sleep(200 * time.Millisecond)
			var found [2]pkcs11.ObjectHandle
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.FindObjectsInit(b.Context(), queries[i%len(queries)]); err != nil {
					b.Fatal(err)
				}
				if got, err := s.FindObjects(b.Context(), found[:]); got != 1 || err != nil {
					b.Fatal(got, err)
				}
				if err := s.FindObjectsFinal(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
