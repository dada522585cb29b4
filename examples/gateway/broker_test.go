package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/examples/internal/factory"
)

// The broker stops while its clients leave, and with one that says nothing.
func TestBrokerStops(t *testing.T) {
	f, err := factory.New()
	if err != nil {
		t.Fatal(err)
	}
	server, err := f.ServerCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	var clients []tls.Certificate
	for i := range 8 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: fmt.Sprint("client-", i)}}, key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := f.SignCSR(csr)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, tls.Certificate{Certificate: [][]byte{leaf.Raw, f.DeviceCA.Raw}, PrivateKey: key, Leaf: leaf})
	}
	for range 10 {
		addr, stop, err := startBroker(server, f.Pool())
		if err != nil {
			t.Fatal(err)
		}
		silent, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		var leaving sync.WaitGroup
		for _, cert := range clients {
			conn, err := connect(deadline(t), addr, cert.Leaf.Subject.CommonName, &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: f.Pool()})
			if err != nil {
				t.Fatal(err)
			}
			leaving.Go(conn.close)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		leaving.Wait()
	}
}
