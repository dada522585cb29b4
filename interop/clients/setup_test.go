//go:build linux && !386 && !race

package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/stretchr/testify/require"
)

// An authority signs the certificates of a run.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCA makes an authority, and a server certificate for localhost with its key
// in a file.
func newCA(t *testing.T, dir string) *authority {
	t.Helper()
	ca := &authority{dir: filepath.Join(dir, "ca")}
	require.NoError(t, os.Mkdir(ca.dir, 0o755))
	var err error
	ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wall CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, ca.key.Public(), ca.key)
	require.NoError(t, err)
	ca.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	write(t, filepath.Join(ca.dir, "ca.pem"), "CERTIFICATE", der)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	write(t, filepath.Join(ca.dir, "server.pem"), "CERTIFICATE", ca.sign(t, "localhost", key.Public(), "localhost"))
	der, err = x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write(t, filepath.Join(ca.dir, "server.key"), "PRIVATE KEY", der)
	require.NoError(t, os.Chmod(filepath.Join(ca.dir, "server.key"), 0o644))
	return ca
}

func (ca *authority) sign(t *testing.T, name string, pub any, hosts ...string) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning}, DNSNames: hosts}, ca.cert, pub, ca.key)
	require.NoError(t, err)
	return der
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
}

// prepare gives the token the device's key and certificate.
func prepare(t *testing.T, tg target, ca *authority, dir string) {
	t.Helper()
	device := filepath.Join(dir, "device-"+strings.ToLower(tg.name))
	require.NoError(t, os.Mkdir(device, 0o755))
	tool := func(args ...string) {
		t.Helper()
		cmd := proc.Command(t, "pkcs11-tool", append([]string{"--module", tg.module, "--token-label", label}, args...)...)
		cmd.Env = append(os.Environ(), tg.env...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %v: %s", tg.name, args, out)
	}
	tool("--login", "--pin", pin, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "device", "--id", "10", "--usage-sign", "--usage-derive")
	pub := filepath.Join(device, "device.pub")
	tool("--read-object", "--type", "pubkey", "--id", "10", "--output-file", pub)
	der, err := os.ReadFile(pub)
	require.NoError(t, err)
	key, err := x509.ParsePKIXPublicKey(der)
	require.NoError(t, err)
	cert := ca.sign(t, "device", key, "device.local")
	write(t, filepath.Join(device, "device.pem"), "CERTIFICATE", cert)
	file := filepath.Join(device, "device.der")
	require.NoError(t, os.WriteFile(file, cert, 0o644))
	tool("--login", "--pin", pin, "--write-object", file, "--type", "cert", "--label", "device", "--id", "10")
}

// ours are the tokens of this module.
func ours(t *testing.T, dir, cryptoki string) []target {
	t.Helper()
	return []target{
		served(t, dir, cryptoki, "soft", "soft:dir="+filepath.Join(dir, "soft-token")+";create=true", p11Kit024),
		tpm(t, dir, cryptoki),
		atecc(t, dir, cryptoki),
	}
}

// p11Kit024 is what no token can do through the p11-kit of Debian 12.
var p11Kit024 = map[string]string{
	"derive": "p11-kit 0.24, which Debian 12 has, does not pass on CKM_ECDH1_DERIVE (nor AES-GCM and AES-CBC); 0.25 does.",
}

// tpm is a token in swtpm.
func tpm(t *testing.T, dir, cryptoki string) target {
	t.Helper()
	sim := tpmtest.Start(t)
	sim.Disconnect() // it serves one at a time
	return served(t, dir, cryptoki, "TPM", "tpm:swtpm=unix:"+sim.Socket()+";dir="+filepath.Join(dir, "tpm-token")+";create=true", p11Kit024)
}

// atecc is a token in the simulated ATECC608, configured as a generic identity.
func atecc(t *testing.T, dir, cryptoki string) target {
	t.Helper()
	sim := build(t, dir, "./cmd/atecc-sim")
	socket := filepath.Join(dir, "chip.sock")
	background(t, filepath.Join(dir, "chip.log"), nil, sim, "--listen", "unix:"+socket, "--config", "generic")
	waitFor(t, socket)
	lacks := maps.Clone(p11Kit024)
	lacks["RSA"] = "The chip has P-256 and no RSA."
	lacks["import"] = "No slot for private keys takes one that was made elsewhere (generic configuration)."
	tg := served(t, dir, cryptoki, "ATECC608", "atecc608:bus=unix:"+socket+";free=2,3;label="+label+";dir="+filepath.Join(dir, "chip-token")+";create=true", lacks)
	tg.noPIN = true
	return tg
}
