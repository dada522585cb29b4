// Package factory stands, in the examples, for what is behind a gateway and
// never on it: the certification authority that knows the devices, and the
// signer of firmware updates.
//
// It keeps its keys in a directory of its own, in the clear. A real one keeps
// them in a token.
package factory

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A Factory issues certificates. Its chain is root, device CA, device: brokers
// know the root only, and a device shows the certificate of the device CA beside
// its own.
type Factory struct {
	Root     *x509.Certificate
	DeviceCA *x509.Certificate
	// UpdateKey signs firmware. Devices have its public key.
	UpdateKey *ecdsa.PrivateKey

	rootKey, deviceKey *ecdsa.PrivateKey
}

// RootFile is the name of the file in the directory of a factory that has the
// root certificate as PEM, for the configuration of a broker.
const RootFile = "root.crt"

// keysFile has all keys and certificates of the factory.
const keysFile = "factory.pem"

// Open returns the factory in dir, a new one if there is none.
func Open(dir string) (*Factory, error) {
	name := filepath.Join(dir, keysFile)
	b, err := os.ReadFile(name)
	if err == nil {
		f, err := parse(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := New()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Root.Raw})
	if err := os.WriteFile(filepath.Join(dir, RootFile), root, 0o644); err != nil {
		return nil, err
	}
	b, err = f.encode()
	if err != nil {
		return nil, err
	}
	// Renamed when it is complete: an interruption leaves no half of a factory.
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return nil, err
	}
	return f, os.Rename(name+".new", name)
}

// New returns a new factory that is stored nowhere.
func New() (*Factory, error) {
	var f Factory
	for _, key := range []**ecdsa.PrivateKey{&f.rootKey, &f.deviceKey, &f.UpdateKey} {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		*key = k
	}
	root := authority("Example Root CA", 1)
	var err error
	if f.Root, err = issue(root, root, f.rootKey.Public(), f.rootKey); err != nil {
		return nil, err
	}
	f.DeviceCA, err = issue(authority("Example Device CA", 0), f.Root, f.deviceKey.Public(), f.rootKey)
	return &f, err
}

// SignCSR issues a certificate for what a certificate signing request (DER)
// asks, as the device CA.
func (f *Factory) SignCSR(csr []byte) (*x509.Certificate, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, err
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("CSR of %s: %w", req.Subject, err)
	}
	cert := template(req.Subject.CommonName, 365*24*time.Hour)
	cert.Subject = req.Subject
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return issue(cert, f.DeviceCA, req.PublicKey, f.deviceKey)
}

// ServerCertificate issues a certificate, with a new key, for a server with
// that host name or IP address.
func (f *Factory) ServerCertificate(host string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert := template(host, 24*time.Hour)
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip := net.ParseIP(host); ip != nil {
		cert.IPAddresses = []net.IP{ip}
	} else {
		cert.DNSNames = []string{host}
	}
	leaf, err := issue(cert, f.Root, key.Public(), f.rootKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// Pool returns the root certificate as what a server or a client trusts.
func (f *Factory) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(f.Root)
	return pool
}

// authority is the template of a CA with so many levels of CAs below it.
func authority(name string, below int) *x509.Certificate {
	cert := template(name, 10*365*24*time.Hour)
	cert.IsCA = true
	cert.BasicConstraintsValid = true
	cert.MaxPathLen = below
	cert.MaxPathLenZero = below == 0
	cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return cert
}

// template is valid from a day ago, since the clocks of gateways are not exact.
func template(name string, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour),
		NotAfter:  now.Add(life),
	}
}

func issue(cert, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (f *Factory) encode() ([]byte, error) {
	var b []byte
	for _, cert := range []*x509.Certificate{f.Root, f.DeviceCA} {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	for _, key := range []*ecdsa.PrivateKey{f.rootKey, f.deviceKey, f.UpdateKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return b, nil
}

var errDamaged = errors.New("not the file of an example factory: remove its directory to get a new one")

func parse(b []byte) (*Factory, error) {
	var (
		certs []*x509.Certificate
		keys  []*ecdsa.PrivateKey
	)
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, errDamaged
			}
			certs = append(certs, cert)
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			ec, ok := key.(*ecdsa.PrivateKey)
			if err != nil || !ok {
				return nil, errDamaged
			}
			keys = append(keys, ec)
		}
	}
	if len(certs) != 2 || len(keys) != 3 {
		return nil, errDamaged
	}
	return &Factory{
		Root: certs[0], DeviceCA: certs[1],
		rootKey: keys[0], deviceKey: keys[1], UpdateKey: keys[2],
	}, nil
}
