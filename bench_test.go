//go:build unix

package cryptoki_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Each benchmark runs batches of the raw operation and of ours in turn, in one
// process, and reports
//
//	ratio       median of raw time / our time, pair by pair: 1 is as fast
//	cpu-ratio   the same of the processor time of the process
//	control     the same of two batches of the raw operation: the noise
//	allocs/op   and raw-allocs/op
//
// A pair takes about 10 ms; give -benchtime 100x or more. The goals are in the
// name of the constant beside each.

type worker func(n int) // does the operation n times

// compare runs pairs of batches of size operations on that many goroutines.
func compare(b *testing.B, goroutines, size int, raw, ours func() worker) {
	b.Helper()
	run := func(workers []worker) (wall, cpu time.Duration) {
		var wg sync.WaitGroup
		c, start := cpuTime(), time.Now()
		for _, w := range workers[1:] {
			wg.Go(func() { w(size) })
		}
		workers[0](size)
		wg.Wait()
		return time.Since(start), cpuTime() - c
	}
	var a, z []worker
	for range goroutines {
		a, z = append(a, raw()), append(z, ours())
	}
	run(a)
	run(z)
	var ratio, cpu, control []float64
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		var w [3]time.Duration
		var c [3]time.Duration
		// The order changes from pair to pair, so that a drift of the clock
		// frequency favours nobody.
		for _, k := range [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}}[i%3] {
			if k == 1 {
				w[k], c[k] = run(z)
			} else {
				w[k], c[k] = run(a)
			}
		}
		ratio = append(ratio, float64(w[0])/float64(w[1]))
		cpu = append(cpu, float64(c[0])/float64(max(c[1], 1)))
		control = append(control, float64(w[0])/float64(w[2]))
		took = append(took, w[1])
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/float64(size)/1e3, "µs")
	b.ReportMetric(median(ratio), "ratio")
	b.ReportMetric(median(cpu), "cpu-ratio")
	b.ReportMetric(median(control), "control")
	b.ReportMetric(testing.AllocsPerRun(20, func() { a[0](1) }), "raw-allocs")
	b.ReportMetric(testing.AllocsPerRun(20, func() { z[0](1) }), "allocs")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchKey is the same key in Go and in a token.
func benchKey(b testing.TB, alg cryptoki.Algorithm) (crypto.Signer, *cryptoki.Token, *cryptoki.Signer) {
	b.Helper()
	key := goKey(b, alg)
	token := setUp(b, newModule(b, &pal.Mem{}, false), &cryptoki.Options{PIN: pinOf(userPIN)})
	if err := token.ImportPrivateKey(b.Context(), "k", key); err != nil {
		b.Fatal(err)
	}
	s, err := token.Signer(b.Context(), "k")
	if err != nil {
		b.Fatal(err)
	}
	return key, token, s
}

func signWith(b *testing.B, key crypto.Signer, opts crypto.SignerOpts) func() worker {
	return func() worker {
		msg := digest[:]
		return func(n int) {
			for range n {
				if _, err := key.Sign(rand.Reader, msg, opts); err != nil {
					b.Error(err)
				}
			}
		}
	}
}

var benchSigners = []struct {
	name string
	alg  cryptoki.Algorithm
	opts crypto.SignerOpts
	size int
}{
	{"P-256", cryptoki.P256, crypto.SHA256, 100}, // goal: 0.97, with two goroutines 0.95; 2 allocations more
	{"Ed25519", cryptoki.Ed25519, crypto.Hash(0), 150},
	{"RSA-2048", cryptoki.RSA2048, crypto.SHA256, 4}, // goal: 0.99
	{"RSA-2048-PSS", cryptoki.RSA2048, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}, 4},
}

// BenchmarkSigner compares Token.Signer with the key in Go's crypto.
func BenchmarkSigner(b *testing.B) {
	for _, test := range benchSigners {
		for _, goroutines := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", test.name, goroutines), func(b *testing.B) {
				key, _, s := benchKey(b, test.alg)
				compare(b, goroutines, test.size, signWith(b, key, test.opts), signWith(b, s, test.opts))
			})
		}
	}
}

// BenchmarkSessionSign compares SignInit and Sign with crypto/ecdsa.
func BenchmarkSessionSign(b *testing.B) {
	for _, goroutines := range []int{1, 2} {
		b.Run(fmt.Sprintf("P-256/goroutines=%d", goroutines), func(b *testing.B) {
			key, token, _ := benchKey(b, cryptoki.P256)
			compare(b, goroutines, 100, signWith(b, key, crypto.SHA256), func() worker {
				s, h := sessionWith(b, token, pkcs11.CKO_PRIVATE_KEY)
				ctx := context.Background()
				m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
				sig := make([]byte, 64)
				return func(n int) {
					for range n {
						if err := s.SignInit(ctx, m, h); err != nil {
							b.Error(err)
						}
						if _, err := s.Sign(ctx, digest[:], sig); err != nil {
							b.Error(err)
						}
					}
				}
			})
		})
	}
}

// BenchmarkSessionVerify compares VerifyInit and Verify with Go's crypto. Goal:
// 0.97.
func BenchmarkSessionVerify(b *testing.B) {
	for _, test := range []struct {
		name string
		alg  cryptoki.Algorithm
		mech pkcs11.MechanismType
		size int
	}{
		{"P-256", cryptoki.P256, pkcs11.CKM_ECDSA, 50},
		{"Ed25519", cryptoki.Ed25519, pkcs11.CKM_EDDSA, 60},
		{"RSA-2048", cryptoki.RSA2048, pkcs11.CKM_RSA_PKCS, 100},
	} {
		b.Run(test.name, func(b *testing.B) {
			key, token, _ := benchKey(b, test.alg)
			opts := crypto.SignerOpts(crypto.SHA256)
			if test.alg == cryptoki.Ed25519 {
				opts = crypto.Hash(0)
			}
			sig, err := key.Sign(rand.Reader, digest[:], opts)
			if err != nil {
				b.Fatal(err)
			}
			raw := func(n int) {
				for range n {
					ok := false
					switch pub := key.Public().(type) {
					case *ecdsa.PublicKey:
						ok = ecdsa.VerifyASN1(pub, digest[:], sig)
					case ed25519.PublicKey:
						ok = ed25519.Verify(pub, digest[:], sig)
					case *rsa.PublicKey:
						ok = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
					}
					if !ok {
						b.Error("does not verify")
					}
				}
			}
			data, psig := digest[:], sig
			switch test.alg {
			case cryptoki.P256:
				psig = make([]byte, 64)
				if err := keys.RawSignature(psig, sig); err != nil {
					b.Fatal(err)
				}
			case cryptoki.RSA2048:
				if data, err = keys.AppendDigestInfo(nil, crypto.SHA256, digest[:]); err != nil {
					b.Fatal(err)
				}
			}
			compare(b, 1, test.size, func() worker { return raw }, func() worker {
				s, h := sessionWith(b, token, pkcs11.CKO_PUBLIC_KEY)
				ctx := context.Background()
				m := &pkcs11.Mechanism{Type: test.mech}
				return func(n int) {
					for range n {
						if err := s.VerifyInit(ctx, m, h); err != nil {
							b.Error(err)
						}
						if err := s.Verify(ctx, data, psig); err != nil {
							b.Error(err)
						}
					}
				}
			})
		})
	}
}

// sessionWith returns a session and the handle of the one key of that class.
func sessionWith(b testing.TB, token *cryptoki.Token, c pkcs11.ObjectClass) (cryptoki.Session, pkcs11.ObjectHandle) {
	b.Helper()
	s, err := token.Session(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	found, err := token.Objects(b.Context(), pkcs11.Template{class(c)})
	if err != nil || len(found) != 1 {
		b.Fatalf("objects %v, error %v", found, err)
	}
	return s, found[0].Handle
}

// BenchmarkHandshake compares mutual TLS 1.3 handshakes over loopback whose
// client key is in the token, or both, with ones whose keys are Go's. Goal: 0.98.
func BenchmarkHandshake(b *testing.B) {
	for _, both := range []bool{false, true} {
		for _, goroutines := range []int{1, 2} {
			name := fmt.Sprintf("client/goroutines=%d", goroutines)
			if both {
				name = fmt.Sprintf("both/goroutines=%d", goroutines)
			}
			b.Run(name, func(b *testing.B) {
				key, token, _ := benchKey(b, cryptoki.P256)
				root := newAuthority(b, "root", nil)
				if err := token.ImportCertificate(b.Context(), "c", root.issue(b, "gw-1", key.Public())); err != nil {
					b.Fatal(err)
				}
				cert, err := token.TLSCertificate(b.Context(), "c", "k")
				if err != nil {
					b.Fatal(err)
				}
				plain := tls.Certificate{Certificate: cert.Certificate, Leaf: cert.Leaf, PrivateKey: key}
				server := plain
				if both {
					server = cert
				}
				compare(b, goroutines, 8, handshakes(b, root.pool(), plain, plain), handshakes(b, root.pool(), server, cert))
			})
		}
	}
}

func handshakes(b *testing.B, roots *x509.CertPool, server, client tls.Certificate) func() worker {
	return func() worker {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { listener.Close() })
		sc := &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
			MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
		cc := &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: roots, ServerName: "gw-1", MinVersion: tls.VersionTLS13}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				s := tls.Server(conn, sc)
				if s.Handshake() == nil {
					s.Write([]byte{1})
				}
				s.Close()
			}
		}()
		return func(n int) {
			for range n {
				c, err := tls.Dial("tcp", listener.Addr().String(), cc)
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := c.Read(make([]byte, 1)); err != nil {
					b.Error(err)
				}
				c.Close()
			}
		}
	}
}
