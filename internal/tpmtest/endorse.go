package tpmtest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// endorse makes endorsement keys and their certificates in the state directory,
// as a manufacturer does. The certification authority is in the directory of
// this TPM, so that this needs no rights on the machine.
func (s *TPM) endorse() {
	s.t.Helper()
	var (
		setup   = need.Program(s.t, "swtpm_setup", "swtpm-tools")
		localca = need.Program(s.t, "swtpm_localca", "swtpm-tools")
	)
	need.Program(s.t, "certtool", "gnutls-bin") // swtpm_localca runs it
	ca := s.authority()
	if err := os.Mkdir(ca, 0o700); err != nil {
		s.t.Fatal(err)
	}
	write := func(name string, lines ...string) string {
		path := filepath.Join(ca, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return path
	}
	authority := write("localca.conf",
		"statedir = "+ca,
		"signingkey = "+filepath.Join(ca, "signkey.pem"),
		"issuercert = "+filepath.Join(ca, "issuercert.pem"),
		"certserial = "+filepath.Join(ca, "certserial"))
	options := write("localca.options",
		"--platform-manufacturer Test", "--platform-version 1", "--platform-model Test")
	conf := write("setup.conf",
		"create_certs_tool = "+localca,
		"create_certs_tool_config = "+authority,
		"create_certs_tool_options = "+options,
		"active_pcr_banks = sha256")
	command := proc.Command(s.t, setup, "--tpm2", "--tpmstate", s.state(),
		"--create-ek-cert", "--ecc", "--config", conf)
	if output, err := command.CombinedOutput(); err != nil {
		s.t.Fatalf("swtpm_setup: %v\n%s", err, output)
	}
}

func (s *TPM) authority() string { return filepath.Join(s.dir, "ca") }

// Authority returns the certificates of the authority that made the endorsement
// certificates, its root first, as PEM.
func (s *TPM) Authority() []byte {
	s.t.Helper()
	var all []byte
	for _, name := range []string{"swtpm-localca-rootca-cert.pem", "issuercert.pem"} {
		data, err := os.ReadFile(filepath.Join(s.authority(), name))
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// Roots returns the root and the intermediate certificates of [TPM.Authority].
func (s *TPM) Roots() (roots, intermediates *x509.CertPool) {
	s.t.Helper()
	roots, intermediates = x509.NewCertPool(), x509.NewCertPool()
	for i, rest := 0, s.Authority(); ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return roots, intermediates
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			s.t.Fatal(fmt.Errorf("certificate %d of the authority: %w", i, err))
		}
		if i == 0 {
			roots.AddCert(certificate)
		} else {
			intermediates.AddCert(certificate)
		}
	}
}
