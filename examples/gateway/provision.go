package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-cryptoki/cryptoki"
	_ "github.com/go-cryptoki/cryptoki/backends/atecc608"
	_ "github.com/go-cryptoki/cryptoki/backends/soft"
	_ "github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/examples/internal/factory"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// tokenLabel is the label of a new token.
const tokenLabel = "example gateway"

// A gateway is the token, and the factory that it came from.
type gateway struct {
	set        settings
	token      *cryptoki.Token
	factory    *factory.Factory
	stopBroker func() error
}

// openGateway opens the token and makes it ready to use, if it is new.
func openGateway(ctx context.Context, set settings, step *steps) (*gateway, error) {
	if err := os.MkdirAll(set.data, 0o700); err != nil {
		return nil, err
	}
	if set.pinFile == "" {
		set.pinFile = filepath.Join(set.data, "user.pin")
	}
	name := set.token
	if name == "" {
		dir := filepath.Join(set.data, "token")
		name = "soft:create=true;dir=" + strings.NewReplacer("%", "%25", ";", "%3B").Replace(dir)
	}
	gw := &gateway{set: set}
	err := step.do("token", func() (_ string, err error) {
		gw.token, err = cryptoki.Open(ctx, name, &cryptoki.Options{PIN: cryptoki.PINFromFile(set.pinFile)})
		if err != nil {
			return "", err
		}
		return gw.initialize(ctx)
	})
	if err == nil {
		gw.factory, err = factory.Open(filepath.Join(set.data, "factory"))
	}
	if err != nil {
		gw.Close()
		return nil, err
	}
	return gw, nil
}

// Close closes the token and stops the broker.
func (gw *gateway) Close() {
	if gw.stopBroker != nil {
		gw.stopBroker()
	}
	if gw.token != nil {
		gw.token.Close()
	}
}

// initialize makes a token that is new ready to use: it gets random PINs. They
// are in their files before the token has them, so that after a power cut they
// are known and the next run goes on.
func (gw *gateway) initialize(ctx context.Context) (string, error) {
	info, err := gw.token.Info(ctx)
	if err != nil {
		return "", err
	}
	// Chips come initialized, some of them without PINs.
	ready := info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0
	if ready && info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 {
		ready = info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED != 0
		if _, err := os.Stat(gw.set.pinFile); ready && errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("token %q wants a PIN and there is no file %s: put the user PIN there, mode 0600, or name another with --pin-file", info.Label, gw.set.pinFile)
		}
	}
	if ready {
		return fmt.Sprintf("found %q (%s %s)", info.Label, info.ManufacturerID, info.Model), nil
	}
	user, err := newPIN(ctx, gw.set.pinFile)
	if err != nil {
		return "", err
	}
	defer clear(user)
	so, err := newPIN(ctx, filepath.Join(gw.set.data, "so.pin"))
	if err != nil {
		return "", err
	}
	defer clear(so)
	err = gw.token.Initialize(ctx, cryptoki.Setup{Label: tokenLabel, SOPIN: so, UserPIN: user})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("made %q (%s %s), set SO and user PIN", tokenLabel, info.ManufacturerID, info.Model), nil
}

// newPIN returns the PIN in the file of that name, a new random one if there is
// no such file. It is on the disk when it is returned.
func newPIN(ctx context.Context, name string) ([]byte, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		pin := rand.Text() // 26 characters, 128 bits
		if err := writeFile(name, []byte(pin+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	return cryptoki.PINFromFile(name)(ctx, pkcs11.CKU_USER, pkcs11.TokenInfo{})
}

// writeFile writes a file whole, or not at all, and durably.
func writeFile(name string, data []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// provision puts what is missing into the six storage places. The device
// certificate is the last: where it is, the identity is complete.
func (gw *gateway) provision(ctx context.Context, step *steps) error {
	// The token would log in by itself at the first use; here it is a step.
	err := step.do("login", func() (string, error) {
		info, err := gw.token.Info(ctx)
		if err != nil || info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 {
			return "", err
		}
		session, err := gw.token.Session(ctx, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return "", err
		}
		return "with the PIN in " + filepath.Base(gw.set.pinFile), session.Close()
	})
	if err != nil {
		return err
	}
	cert, err := gw.token.Certificate(ctx, cryptoki.DeviceCert)
	if err == nil {
		return step.do("identity", func() (string, error) { return gw.found(ctx, cert) })
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	kind, err := keyKind(gw.set.key)
	if err != nil {
		return err
	}
	var csr []byte
	var issued *x509.Certificate
	for _, s := range []struct {
		name string
		do   func() (string, error)
	}{
		{"key pair", func() (string, error) {
			// One that an interrupted run has left is replaced.
			_, err := gw.token.GenerateKey(ctx, cryptoki.KeySpec{
				Label:       cryptoki.DevicePrivateKey,
				PublicLabel: cryptoki.DevicePublicKey,
				Algorithm:   kind,
			})
			return fmt.Sprintf("%s, made in the token: %q, %q", kind, cryptoki.DevicePrivateKey, cryptoki.DevicePublicKey), err
		}},
		{"root CA", func() (string, error) {
			return gw.install(ctx, cryptoki.RootCert, gw.factory.Root)
		}},
		{"JITP CA", func() (string, error) {
			return gw.install(ctx, cryptoki.JITPCert, gw.factory.DeviceCA)
		}},
		{"update key", func() (string, error) {
			return fmt.Sprintf("%q", cryptoki.CodeVerifyKey),
				gw.token.ImportPublicKey(ctx, cryptoki.CodeVerifyKey, gw.factory.UpdateKey.Public())
		}},
		{"CSR", func() (_ string, err error) {
			name := gw.set.clientID
			if name == "" {
				name = "example-gateway"
			}
			csr, err = gw.token.CertificateRequest(ctx, cryptoki.DevicePrivateKey, &x509.CertificateRequest{
				Subject: pkix.Name{CommonName: name},
			})
			if err != nil {
				return "", err
			}
			file := filepath.Join(gw.set.data, "device.csr")
			block := &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}
			return fmt.Sprintf("for %q, signed in the token, saved as %s", name, filepath.Base(file)), writeFile(file, pem.EncodeToMemory(block), 0o644)
		}},
		{"certificate", func() (_ string, err error) {
			if issued, err = gw.factory.SignCSR(csr); err != nil {
				return "", err
			}
			file := filepath.Join(gw.set.data, "device.crt")
			block := &pem.Block{Type: "CERTIFICATE", Bytes: issued.Raw}
			if err := writeFile(file, pem.EncodeToMemory(block), 0o644); err != nil {
				return "", err
			}
			_, err = gw.install(ctx, cryptoki.DeviceCert, issued, cryptoki.ForKey(cryptoki.DevicePrivateKey))
			return fmt.Sprintf("%q, issued by %q", cryptoki.DeviceCert, issued.Issuer.CommonName), err
		}},
	} {
		if err := step.do(s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

// found says what identity the token has, and that it is not the one that was
// asked for.
func (gw *gateway) found(ctx context.Context, cert *x509.Certificate) (string, error) {
	pub, err := gw.token.PublicKey(ctx, cryptoki.DevicePublicKey)
	if err != nil {
		return "", err
	}
	have := "another kind of"
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		have = pub.Params().Name
	case *rsa.PublicKey:
		have = fmt.Sprintf("RSA-%d", pub.N.BitLen())
	}
	if want, err := keyKind(gw.set.key); err != nil {
		return "", err
	} else if gw.set.key != "" && have != string(want) {
		return "", fmt.Errorf("--key %s: the token has a %s key already; leave the flag out, or take another --data directory", gw.set.key, have)
	}
	if now := time.Now(); now.After(cert.NotAfter) {
		return "", fmt.Errorf("certificate %q expired on %s: install a new one, or remove the identity", cryptoki.DeviceCert, cert.NotAfter.Format(time.DateOnly))
	} else if now.Before(cert.NotBefore) {
		return "", fmt.Errorf("certificate %q is not valid before %s, and it is %s here: set the clock", cryptoki.DeviceCert, cert.NotBefore.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	return fmt.Sprintf("found %q: %q, %s key", cryptoki.DeviceCert, cert.Subject.CommonName, have), nil
}

func (gw *gateway) install(ctx context.Context, label string, cert *x509.Certificate, opts ...cryptoki.CertificateOption) (string, error) {
	return fmt.Sprintf("%q: %q", label, cert.Subject.CommonName), gw.token.ImportCertificate(ctx, label, cert, opts...)
}

// keyKind returns the algorithm that --key names.
func keyKind(s string) (cryptoki.Algorithm, error) {
	switch s {
	case "", "p256":
		return cryptoki.P256, nil
	case "rsa2048":
		return cryptoki.RSA2048, nil
	}
	return "", fmt.Errorf("--key %s: want p256 or rsa2048", s)
}
