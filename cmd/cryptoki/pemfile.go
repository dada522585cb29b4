package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxInput is the largest file in bytes that is read whole.
const maxInput = 1 << 20

// A kind of thing that a file may hold, in words.
type kind string

const (
	kindCertificate kind = "a certificate"
	kindRequest     kind = "a certificate request"
	kindPrivate     kind = "a private key"
	kindEncrypted   kind = "an encrypted private key"
	kindPublic      kind = "a public key"
	kindOpenSSH     kind = "a private key in OpenSSH's format"
	kindTrusted     kind = "a certificate in OpenSSL's trusted format"
	kindCRL         kind = "a revocation list"
	kindPKCS7       kind = "a PKCS #7 bundle"
	kindPKCS12      kind = "a PKCS #12 file"
	kindParameters  kind = "parameters of a key"
	kindTSS2        kind = "a key that belongs to a TPM"
)

var pemKinds = map[string]kind{
	"CERTIFICATE": kindCertificate, "X509 CERTIFICATE": kindCertificate, "TRUSTED CERTIFICATE": kindTrusted,
	"CERTIFICATE REQUEST": kindRequest, "NEW CERTIFICATE REQUEST": kindRequest,
	"PRIVATE KEY": kindPrivate, "RSA PRIVATE KEY": kindPrivate, "EC PRIVATE KEY": kindPrivate,
	"ENCRYPTED PRIVATE KEY": kindEncrypted, "OPENSSH PRIVATE KEY": kindOpenSSH, "TSS2 PRIVATE KEY": kindTSS2,
	"PUBLIC KEY": kindPublic, "RSA PUBLIC KEY": kindPublic,
	"X509 CRL": kindCRL, "PKCS7": kindPKCS7, "CMS": kindPKCS7,
	"EC PARAMETERS": kindParameters, "DSA PARAMETERS": kindParameters, "DH PARAMETERS": kindParameters,
}

// A block is a thing in a file.
type block struct {
	kind kind
	der  []byte
	typ  string // of PEM, "" for DER
}

// readBlocks returns what the file holds: the blocks of a PEM file, in order,
// or what its DER is.
func (a *app) readBlocks(path string) ([]block, error) {
	data, err := a.readInput(path, maxInput)
	if err != nil {
		return nil, err
	}
	blocks, err := parseBlocks(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(path), err)
	}
	return blocks, nil
}

func parseBlocks(data []byte) ([]block, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	var blocks []block
	rest := data
	for {
		var p *pem.Block
		p, rest = pem.Decode(rest)
		if p == nil {
			break
		}
		b := block{pemKinds[p.Type], p.Bytes, p.Type}
		if b.kind == "" {
			b.kind = kind("a PEM block of type " + p.Type)
		}
		if b.kind == kindPrivate && strings.Contains(p.Headers["Proc-Type"], "ENCRYPTED") {
			b.kind = kindEncrypted
		}
		blocks = append(blocks, b)
	}
	if begins := bytes.Count(data, []byte("-----BEGIN ")); begins > len(blocks) {
		return nil, fmt.Errorf("%d of its %d PEM blocks are damaged or cut off; copy the file again", begins-len(blocks), begins)
	}
	if len(blocks) > 0 {
		return blocks, nil
	}
	if k := derKind(data); k != "" {
		return []block{{kind: k, der: data}}, nil
	}
	return nil, errors.New("neither PEM nor the DER of a certificate or key")
}

// derKind finds out what DER is.
func derKind(der []byte) kind {
	if _, err := x509.ParseCertificate(der); err == nil {
		return kindCertificate
	}
	if _, err := x509.ParseCertificateRequest(der); err == nil {
		return kindRequest
	}
	if _, err := parsePublicKey(der); err == nil {
		return kindPublic
	}
	if key, err := parsePrivateKey(der); err == nil && key != nil {
		return kindPrivate
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		return kindCRL
	}
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) != 0 || outer.Tag != asn1.TagSequence {
		return ""
	}
	var version int
	if rest, err := asn1.Unmarshal(outer.Bytes, &version); err == nil && version == 3 && len(rest) > 0 {
		return kindPKCS12
	}
	var oid asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(outer.Bytes, &oid); err == nil && oid.String() == "1.2.840.113549.1.7.2" {
		return kindPKCS7
	}
	var encrypted struct {
		Algorithm struct {
			OID    asn1.ObjectIdentifier
			Params asn1.RawValue `asn1:"optional"`
		}
		Data []byte
	}
	if rest, err := asn1.Unmarshal(der, &encrypted); err == nil && len(rest) == 0 && len(encrypted.Data) > 0 {
		return kindEncrypted
	}
	return ""
}

// pick returns the blocks of the kind that is wanted. If there are none the
// error names what the file holds instead, and the way out.
func pick(path string, blocks []block, want kind) ([]block, error) {
	var found []block
	for _, b := range blocks {
		if b.kind == want {
			found = append(found, b)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	has := blocks[0].kind
	for _, b := range blocks {
		if b.kind != kindParameters { // openssl ecparam writes them before the key
			has = b.kind
			break
		}
	}
	err := fmt.Errorf("%s: this is %s, not %s", fileName(path), has, want)
	quoted := shellQuote(path)
	switch {
	case want == kindPrivate && has == kindEncrypted:
		return nil, withHint(fmt.Errorf("%w; decrypt it on the way in", err),
			fmt.Sprintf("openssl pkey -in %s | cryptoki import key LABEL -", quoted))
	case want == kindPrivate && has == kindOpenSSH:
		return nil, withHint(fmt.Errorf("%w; convert a copy of it", err),
			"ssh-keygen -p -m PKCS8 -f COPY")
	case has == kindTSS2:
		return nil, withHint(fmt.Errorf("%w; it works with that TPM only", err))
	case has == kindPKCS12 && want == kindPrivate:
		return nil, withHint(err, fmt.Sprintf("openssl pkcs12 -in %s -nocerts -nodes | cryptoki import key LABEL -", quoted))
	case has == kindPKCS12:
		return nil, withHint(err, fmt.Sprintf("openssl pkcs12 -in %s -nokeys | cryptoki import chain LABEL -", quoted))
	case has == kindPKCS7 && want == kindCertificate:
		return nil, withHint(err, fmt.Sprintf("openssl pkcs7 -in %s -print_certs | cryptoki import chain LABEL -", quoted))
	case has == kindTrusted && want == kindCertificate:
		return nil, withHint(err, fmt.Sprintf("openssl x509 -in %s | cryptoki import certificate LABEL -", quoted))
	case has == kindRequest && want == kindCertificate:
		return nil, withHint(fmt.Errorf("%w; have a CA sign it", err))
	case has == kindCertificate && want == kindPublic:
		return nil, withHint(err, fmt.Sprintf("openssl x509 -in %s -noout -pubkey | cryptoki import public-key LABEL -", quoted))
	case has == kindPrivate && want == kindPublic:
		return nil, withHint(err, fmt.Sprintf("openssl pkey -in %s -pubout | cryptoki import public-key LABEL -", quoted))
	case has == kindCertificate:
		return nil, withHint(err, "cryptoki import certificate")
	case has == kindPublic:
		return nil, withHint(err, "cryptoki import public-key")
	case has == kindPrivate:
		return nil, withHint(err, "cryptoki import key")
	}
	return nil, err
}

// only returns the one block of the kind.
func only(path string, blocks []block, want kind) (block, error) {
	found, err := pick(path, blocks, want)
	if err != nil {
		return block{}, err
	}
	if len(found) > 1 {
		err = fmt.Errorf("%s: it holds %d of what should be one: %s", fileName(path), len(found), want)
		if want == kindCertificate {
			err = withHint(err, "cryptoki import chain takes a file with several certificates")
		}
		return block{}, err
	}
	return found[0], nil
}

// parsePublicKey parses a SubjectPublicKeyInfo or a PKCS #1 public key.
func parsePublicKey(der []byte) (crypto.PublicKey, error) {
	if pub, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return pub, nil
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, plainX509(err)
	}
	switch pub.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
		return pub, nil
	}
	return nil, fmt.Errorf("a key of type %T is neither EC, Ed25519 nor RSA", pub)
}

// parsePrivateKey parses PKCS #8, PKCS #1 or SEC 1.
func parsePrivateKey(der []byte) (crypto.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, plainX509(err)
	}
	switch key.(type) {
	case *ecdsa.PrivateKey, *rsa.PrivateKey, ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T is neither EC, Ed25519 nor RSA", key)
}

// plainX509 takes the prefix of crypto/x509 off an error.
func plainX509(err error) error {
	return errors.New(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "x509: "), "crypto/x509: "))
}

// readInput reads a file of at most max bytes, standard input for -.
func (a *app) readInput(path string, max int64) ([]byte, error) {
	f, err := a.openInput(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(path), cause(err))
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("%s: more than %d bytes; this is not the right file", fileName(path), max)
	}
	return data, nil
}

// openInput opens a file, or standard input for -.
func (a *app) openInput(path string) (*os.File, error) {
	if path == "-" {
		return a.stdin, a.takeStdin("-")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s: this is a directory, not a file", path)
	}
	return f, nil
}

// takeStdin keeps two readers from sharing standard input by mistake.
func (a *app) takeStdin(who string) error {
	if a.stdinTaken != "" && a.stdinTaken != who {
		return usagef("standard input is wanted for both %s and %s; take a file for one of them", a.stdinTaken, who)
	}
	a.stdinTaken = who
	return nil
}

// writeOutput writes a result whole or not at all: to a new file beside path,
// which then takes its place; to standard output for - and "".
func (a *app) writeOutput(path string, data []byte, mode fs.FileMode) error {
	if path == "" || path == "-" {
		return a.write(data)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return fmt.Errorf("%s: this is a directory, not a file", path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // a device or a pipe
		if err != nil {
			return fmt.Errorf("%s: %w", path, cause(err))
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	}
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s.tmp: it exists, and is needed to write %s; remove it", path, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, cause(err))
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("%s: %w", path, cause(err))
	}
	return nil
}

// cause takes the operation and the path off an error of package os.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// fileName is what messages call a file.
func fileName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// shellQuote quotes what a person will paste into a shell.
func shellQuote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:=@%+,", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
