// Provision makes a device's key pair in a token and prints the certificate
// signing request for it; then, given the certificate, it installs that.
//
//	provision -t 'soft:dir=token;create=true' -pin-file user.pin -so-pin-file so.pin -name device-7 >device.csr
//	provision -t soft:dir=token -pin-file user.pin -cert device.crt -root ca.crt -update-key update.pem
//
// A token that is new gets its PINs first, from these files.
package main

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/go-cryptoki/cryptoki"
	_ "github.com/go-cryptoki/cryptoki/backends/atecc608"
	_ "github.com/go-cryptoki/cryptoki/backends/soft"
	_ "github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	name      = flag.String("t", "", "`TOKEN`, such as soft:dir=token")
	pinFile   = flag.String("pin-file", "", "`FILE` with the user PIN")
	soPINFile = flag.String("so-pin-file", "", "`FILE` with the SO PIN, for a token that is new")
	device    = flag.String("name", "", "make a key pair and print the CSR for a device of this `NAME`")
	certFile  = flag.String("cert", "", "install the device certificate in this PEM `FILE`")
	rootFile  = flag.String("root", "", "install the trusted root certificate in this PEM `FILE`")
	codeFile  = flag.String("update-key", "", "install the public key in this PEM `FILE`, which verifies updates")
)

func main() {
	flag.Parse()
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	token, err := cryptoki.Open(ctx, *name, &cryptoki.Options{PIN: cryptoki.PINFromFile(*pinFile)})
	if err != nil {
		return err
	}
	defer token.Close()
	info, err := token.Info(ctx)
	if err != nil {
		return err
	}
	if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
		if err := initialize(ctx, token, info); err != nil {
			return err
		}
	}
	if *device != "" {
		if err := request(ctx, token, out); err != nil {
			return err
		}
	}
	if *certFile != "" {
		if err := install(ctx, token, cryptoki.DeviceCert, *certFile, cryptoki.ForKey(cryptoki.DevicePrivateKey)); err != nil {
			return err
		}
	}
	if *rootFile != "" {
		if err := install(ctx, token, cryptoki.RootCert, *rootFile); err != nil {
			return err
		}
	}
	if *codeFile != "" {
		der, err := readPEM(*codeFile, "PUBLIC KEY")
		if err != nil {
			return err
		}
		key, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return fmt.Errorf("%s: %w", *codeFile, err)
		}
		return token.ImportPublicKey(ctx, cryptoki.CodeVerifyKey, key)
	}
	return nil
}

// initialize gives a token that is new its PINs.
func initialize(ctx context.Context, token *cryptoki.Token, info pkcs11.TokenInfo) error {
	user, err := cryptoki.PINFromFile(*pinFile)(ctx, pkcs11.CKU_USER, info)
	if err != nil {
		return err
	}
	defer clear(user)
	so, err := cryptoki.PINFromFile(*soPINFile)(ctx, pkcs11.CKU_SO, info)
	if err != nil {
		return err
	}
	defer clear(so)
	return token.Initialize(ctx, cryptoki.Setup{Label: "device", SOPIN: so, UserPIN: user})
}

// request makes the key pair, in the place of one that is there, and prints the
// certificate signing request.
func request(ctx context.Context, token *cryptoki.Token, out io.Writer) error {
	_, err := token.GenerateKey(ctx, cryptoki.KeySpec{
		Label:       cryptoki.DevicePrivateKey,
		PublicLabel: cryptoki.DevicePublicKey,
		Algorithm:   cryptoki.P256,
	})
	if err != nil {
		return err
	}
	csr, err := token.CertificateRequest(ctx, cryptoki.DevicePrivateKey, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: *device},
	})
	if err != nil {
		return err
	}
	return pem.Encode(out, &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
}

func install(ctx context.Context, token *cryptoki.Token, label, file string, opts ...cryptoki.CertificateOption) error {
	der, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return token.ImportCertificate(ctx, label, cert, opts...)
}

func readPEM(file, kind string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: want PEM that begins with -----BEGIN %s-----", file, kind)
	}
	return block.Bytes, nil
}
