// Tls-client connects to a TLS server as the device whose identity is in a
// token, sends it standard input, and prints what it answers.
//
//	tls-client soft:dir=gateway-data/token gateway-data/user.pin localhost:8443
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"os"

	"github.com/go-cryptoki/cryptoki"
	_ "github.com/go-cryptoki/cryptoki/backends/atecc608"
	_ "github.com/go-cryptoki/cryptoki/backends/soft"
	_ "github.com/go-cryptoki/cryptoki/backends/tpm"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: tls-client TOKEN PINFILE HOST:PORT")
	}
	name, pinFile, addr := os.Args[1], os.Args[2], os.Args[3]

	ctx := context.Background()
	token, err := cryptoki.Open(ctx, name, &cryptoki.Options{PIN: cryptoki.PINFromFile(pinFile)})
	check(err)
	defer token.Close()

	cert, err := token.TLSCertificate(ctx, cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
	check(err)
	root, err := token.Certificate(ctx, cryptoki.RootCert)
	check(err)
	roots := x509.NewCertPool()
	roots.AddCert(root)

	conn, err := tls.Dial("tcp", addr, &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots})
	check(err)
	defer conn.Close()

	_, err = io.Copy(conn, os.Stdin)
	check(err)
	check(conn.CloseWrite())
	_, err = io.Copy(os.Stdout, conn)
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal("tls-client: ", err)
	}
}
