package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/tpm/attest"
)

var attestCommand = command{
	name:    "attest",
	args:    "[LABEL]",
	summary: "prove to others that a private key was made in this TPM",
	about: `What is written is for verify-attestation, or a service that uses the Go package
backends/tpm/attest: the certificate of the TPM's maker, the TPM's signed word
that it has created the key, and how, and what is in the platform's registers. The
nonce is chosen by who verifies, anew each time.

The first time the verifier answers with a challenge. --challenge answers that,
without a LABEL.`,
	pins: wantUser,
	example: []example{
		{"", `cryptoki attest "Device Priv TLS Key" --nonce 5cf9e2b1a04d7783 -o evidence.json`},
		{"the answer to a challenge", "cryptoki attest --challenge challenge.json -o answer.json"},
	},
	flags: func(o *options) runFunc {
		var nonce, challenge, out string
		o.str(&nonce, "nonce", "HEX", "the verifier's nonce, 1 to 32 bytes in hexadecimal")
		o.str(&challenge, "challenge", "FILE", "answer the challenge in FILE instead")
		o.str(&out, "out,o", "FILE", "write to FILE instead of standard output")
		return func(ctx context.Context, a *app, args []string) error {
			switch {
			case challenge != "" && (nonce != "" || len(args) > 0):
				return usagef("attest: --challenge stands alone, without a key and a nonce")
			case challenge != "":
				return a.answer(ctx, challenge, out)
			case len(args) == 0:
				return usagef("attest: LABEL is missing")
			}
			return a.attest(ctx, args[0], nonce, out)
		}
	},
}

func (a *app) attest(ctx context.Context, key, nonce, out string) error {
	if err := a.name(key); err != nil {
		return err
	}
	n, err := parseNonce("attest", nonce)
	if err != nil {
		return err
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		evidence, err := t.Attest(ctx, key, n)
		if err != nil {
			return err
		}
		return a.writeOutput(out, evidence, 0o644)
	})
}

func parseNonce(command, s string) ([]byte, error) {
	if s == "" {
		return nil, withHint(usagef("%s: --nonce is missing: evidence without one could be old", command), "the verifier makes one: openssl rand -hex 20")
	}
	n, err := hex.DecodeString(s)
	if err != nil || len(n) > 32 {
		return nil, usagef("--nonce %q is not 1 to 32 bytes in hexadecimal", s)
	}
	return n, nil
}

func (a *app) answer(ctx context.Context, challenge, out string) error {
	data, err := a.readInput(challenge, maxInput)
	if err != nil {
		return err
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		answer, err := t.AnswerChallenge(ctx, data)
		if err != nil {
			return err
		}
		return a.writeOutput(out, answer, 0o644)
	})
}

var verifyAttestationCommand = command{
	name:    "verify-attestation",
	args:    "EVIDENCE",
	summary: "check evidence that a key was made in a TPM",
	about: `EVIDENCE is what attest has written, - for standard input. It needs no token and
no TPM. Everything is checked: the certificate of the TPM against the roots of TPM
makers, the attestation key, its signatures, the nonce, the key and how it came to
be. The exit status is 0 only if all of it holds.

Whether the attestation key is in the TPM with that certificate, only an answer to
a challenge can show, the first time that it is seen: --make-challenge writes one
to be sent to the device, and a secret to be kept until the answer is there. From
then on --known names the attestation key.`,
	local: true,
	json: []field{
		{"publicKey", "the key, PEM"},
		{"keyName", "the TPM's name of the key, hexadecimal"},
		{"attestationKey", "the name of the attestation key, for --known, hexadecimal"},
		{"endorsementKey", "SHA-256 of the endorsement key (SubjectPublicKeyInfo): the TPM's identity, hexadecimal"},
		{"maker", "who has issued the TPM's certificate; empty without one"},
		{"pcrs", "the platform's registers: number and value, hexadecimal"},
	},
	example: []example{
		{"the first time: challenge the device", "cryptoki verify-attestation evidence.json --nonce 5cf9e2b1a04d7783 --roots makers.pem --make-challenge challenge.json --secret secret"},
		{"and check its answer", "cryptoki verify-attestation evidence.json --nonce 5cf9e2b1a04d7783 --roots makers.pem --challenge challenge.json --secret secret --answer answer.json"},
		{"later", "cryptoki verify-attestation evidence.json --nonce 5cf9e2b1a04d7783 --roots makers.pem --known 000b5e0c…"},
		{"that a certificate request is for the key", "cryptoki verify-attestation evidence.json --nonce 5cf9e2b1a04d7783 --roots makers.pem --known 000b5e0c… --csr device.csr"},
	},
	flags: func(o *options) runFunc {
		var v verification
		o.str(&v.nonce, "nonce", "HEX", "the nonce that the device was given")
		o.strs(&v.roots, "roots", "FILE", "certificates of TPM makers that are trusted, PEM; those that are signed by others help on the way")
		o.strs(&v.endorsed, "endorsement-key", "HEX", "trust an endorsement key without certificate: its SHA-256")
		o.strs(&v.known, "known", "HEX", "an attestation key that is known from an earlier challenge")
		o.str(&v.makeChallenge, "make-challenge", "FILE", "write a challenge for the device to FILE")
		o.str(&v.challenge, "challenge", "FILE", "the challenge that the device has answered")
		o.str(&v.secret, "secret", "FILE", "the secret of the challenge, 32 bytes: written with --make-challenge, read with --challenge")
		o.str(&v.answer, "answer", "FILE", "the device's answer")
		o.str(&v.csr, "csr", "FILE", "a certificate request that must be for the key")
		o.str(&v.out, "out,o", "FILE", "write the public key to FILE, PEM")
		return func(ctx context.Context, a *app, args []string) error { return a.verifyAttestation(args[0], v) }
	},
}

type verification struct {
	nonce, makeChallenge, challenge, secret, answer, csr, out string
	roots, endorsed, known                                    []string
}

func (a *app) verifyAttestation(path string, v verification) error {
	nonce, err := parseNonce("verify-attestation", v.nonce)
	if err != nil {
		return err
	}
	data, err := a.readInput(path, maxInput)
	if err != nil {
		return err
	}
	e, err := attest.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", fileName(path), err)
	}
	p := &attest.Policy{Nonce: nonce}
	if err := a.trusted(p, v); err != nil {
		return err
	}
	if v.csr != "" {
		if p.PublicKey, err = a.requested(v.csr); err != nil {
			return err
		}
	}
	if v.makeChallenge != "" {
		return a.makeChallenge(e, p, v)
	}
	if err := a.challenged(p, v); err != nil {
		return err
	}
	r, err := attest.Verify(e, p)
	if err != nil {
		err = fmt.Errorf("%s: %w", fileName(path), err)
		if len(p.Known) == 0 && p.Challenge == nil {
			err = withHint(err, "the first time: --make-challenge FILE --secret FILE")
		}
		if p.Challenge != nil && subtle.ConstantTimeCompare(p.Secret, p.Answer.Secret) != 1 {
			err = withHint(err, fmt.Sprintf("or %s is the secret of another challenge: give the file that --make-challenge %s wrote with --secret", fileName(v.secret), shellQuote(v.challenge)))
		}
		return err
	}
	return a.attested(r, v.out)
}

// trusted fills in what is trusted.
func (a *app) trusted(p *attest.Policy, v verification) error {
	for _, path := range v.roots {
		certs, err := a.readCertificates(path, true)
		if err != nil {
			return err
		}
		if p.Roots == nil {
			p.Roots, p.Intermediates = x509.NewCertPool(), x509.NewCertPool()
		}
		for _, c := range certs {
			if bytes.Equal(c.RawSubject, c.RawIssuer) {
				p.Roots.AddCert(c)
			} else {
				p.Intermediates.AddCert(c)
			}
		}
	}
	if len(v.roots) == 0 && len(v.endorsed) == 0 {
		return usagef("verify-attestation: whose TPMs are trusted? --roots FILE")
	}
	for _, list := range []struct {
		flag string
		from []string
		to   *[][]byte
	}{{"endorsement-key", v.endorsed, &p.EndorsementKeys}, {"known", v.known, &p.Known}} {
		for _, s := range list.from {
			b, err := hex.DecodeString(s)
			if err != nil || len(b) < 32 {
				return usagef("--%s %q is not 32 bytes or more in hexadecimal", list.flag, s)
			}
			*list.to = append(*list.to, b)
		}
	}
	return nil
}

// requested returns the key of a certificate request, which is signed with it.
func (a *app) requested(path string) (crypto.PublicKey, error) {
	blocks, err := a.readBlocks(path)
	if err != nil {
		return nil, err
	}
	b, err := only(path, blocks, kindRequest)
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(b.der)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(path), err)
	}
	return request.PublicKey, nil
}

// makeChallenge writes a challenge, for evidence to which nothing else is missing.
func (a *app) makeChallenge(e *attest.Evidence, p *attest.Policy, v verification) error {
	if v.secret == "" {
		return usagef("--make-challenge: where is the secret to be kept? --secret FILE")
	}
	c, secret, err := attest.NewChallenge(rand.Reader, e)
	if err != nil {
		return err
	}
	defer clear(secret)
	p.Known = [][]byte{c.AttestationKeyName}
	if _, err := attest.Verify(e, p); err != nil {
		return err
	}
	data, err := c.Marshal()
	if err != nil {
		return err
	}
	if err := a.writeOutput(v.secret, secret, 0o600); err != nil {
		return err
	}
	if err := a.writeOutput(v.makeChallenge, data, 0o644); err != nil {
		return err
	}
	a.note("the evidence is good, if the device can answer the challenge: cryptoki attest --challenge %s", shellQuote(v.makeChallenge))
	return nil
}

// challenged reads a challenge and its answer.
func (a *app) challenged(p *attest.Policy, v verification) error {
	given := []string{v.challenge, v.secret, v.answer}
	if !slices.ContainsFunc(given, func(s string) bool { return s != "" }) {
		return nil
	}
	if slices.Contains(given, "") {
		return usagef("--challenge, --secret and --answer go together")
	}
	data, err := a.readInput(v.challenge, maxInput)
	if err != nil {
		return err
	}
	if p.Challenge, err = attest.ParseChallenge(data); err != nil {
		return fmt.Errorf("%s: %w", fileName(v.challenge), err)
	}
	if data, err = a.readInput(v.answer, maxInput); err != nil {
		return err
	}
	if p.Answer, err = attest.ParseAnswer(data); err != nil {
		return fmt.Errorf("%s: %w", fileName(v.answer), err)
	}
	if p.Secret, err = a.readInput(v.secret, maxInput); err != nil {
		return err
	}
	if len(p.Secret) != challengeSecret {
		return withHint(fmt.Errorf("%s: this is no secret of a challenge: it has %d bytes, not %d", fileName(v.secret), len(p.Secret), challengeSecret),
			fmt.Sprintf("give the file that --make-challenge %s wrote with --secret", shellQuote(v.challenge)))
	}
	return nil
}

// challengeSecret is the length of the secret that attest.NewChallenge makes.
const challengeSecret = 32

type attestedPCR struct {
	Number int    `json:"number"`
	Value  string `json:"value"`
}

// attested prints what was proven.
func (a *app) attested(r *attest.Result, out string) error {
	key, err := publicPEM(r.PublicKey)
	if err != nil {
		return err
	}
	if out != "" {
		if err := a.writeOutput(out, key, 0o644); err != nil {
			return err
		}
	}
	maker := ""
	if r.EndorsementCertificate != nil {
		maker = r.EndorsementCertificate.Issuer.String()
	}
	pcrs := []attestedPCR{}
	for i := range 24 {
		if value, ok := r.PCRs[i]; ok {
			pcrs = append(pcrs, attestedPCR{i, hex.EncodeToString(value)})
		}
	}
	if a.json {
		return a.printJSON(struct {
			PublicKey      string        `json:"publicKey"`
			KeyName        string        `json:"keyName"`
			AttestationKey string        `json:"attestationKey"`
			EndorsementKey string        `json:"endorsementKey"`
			Maker          string        `json:"maker"`
			PCRs           []attestedPCR `json:"pcrs"`
		}{string(key), hex.EncodeToString(r.KeyName), hex.EncodeToString(r.AttestationKeyName), hex.EncodeToString(r.EndorsementKey[:]), maker, pcrs})
	}
	if maker == "" {
		maker = "not certified, trusted by --endorsement-key"
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return errors.New("the key cannot be written")
	}
	return a.table([][]string{
		{"key", keyName(r.PublicKey) + ", made in the TPM, cannot leave it"},
		{"key name", hex.EncodeToString(r.KeyName)},
		{"TPM", hex.EncodeToString(r.EndorsementKey[:])},
		{"maker", maker},
		{"attestation key", hex.EncodeToString(r.AttestationKeyName)},
	})
}
