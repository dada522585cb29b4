package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recorded returns the evidence of a TPM (swtpm), and the policy that it fulfils.
// It was recorded with version 1 of the format, and has to be readable for ever.
func recorded(t testing.TB) (*Evidence, *Policy) {
	t.Helper()
	e, err := Parse(load(t, "evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	nonce := sha256.Sum256([]byte("a nonce of the verifier"))
	p := &Policy{Nonce: nonce[:], Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	if p.Challenge, err = ParseChallenge(load(t, "challenge.json")); err != nil {
		t.Fatal(err)
	}
	if p.Answer, err = ParseAnswer(load(t, "answer.json")); err != nil {
		t.Fatal(err)
	}
	p.Secret = bytes.Clone(p.Answer.Secret)
	for i, rest := 0, load(t, "roots.pem"); ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		p.Time = c.NotBefore.Add(time.Hour)
		if i == 0 {
			p.Roots.AddCert(c)
		} else {
			p.Intermediates.AddCert(c)
		}
	}
	return e, p
}

func TestVerify(t *testing.T) {
	e, p := recorded(t)
	r, err := Verify(e, p)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("the key is %T, want one on P-256", r.PublicKey)
	}
	if r.EndorsementCertificate == nil || r.EndorsementKey != sha256.Sum256(e.EndorsementKey) || len(r.PCRs) != 16 {
		t.Errorf("got %+v", r)
	}

	t.Log("from then on the attestation key is known")
	p.Challenge, p.Secret, p.Answer = nil, nil, nil
	p.Known = [][]byte{{1}, r.AttestationKeyName}
	p.PublicKey = r.PublicKey
	p.PCRs = map[int][]byte{0: make([]byte, 32)}
	if _, err := Verify(e, p); err != nil {
		t.Error(err)
	}
}

// Every kind of tampering is refused, at the step that is for it.
func TestTampering(t *testing.T) {
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[(i+len(b))%len(b)] ^= 1
		return b
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(e *Evidence, p *Policy)
		want   string
	}{
		// The nonce.
		"another nonce":          {func(_ *Evidence, p *Policy) { p.Nonce = flip(p.Nonce, 0) }, "nonce is another one"},
		"a longer nonce":         {func(_ *Evidence, p *Policy) { p.Nonce = append(p.Nonce, 0) }, "nonce is another one"},
		"no nonce":               {func(_ *Evidence, p *Policy) { p.Nonce = nil }, "no nonce"},
		"a nonce in the message": {func(e *Evidence, _ *Policy) { e.Creation.Info = flip(e.Creation.Info, 45) }, "signature is wrong"},
		// The key's public area.
		"another key":                 {func(e *Evidence, _ *Policy) { e.Key = softKey(&other.PublicKey, 0x40472) }, "about another key"},
		"other attributes":            {func(e *Evidence, _ *Policy) { e.Key = flip(e.Key, 5) }, "about another key"},
		"a key that is not fixed":     {func(e *Evidence, _ *Policy) { e.Key[7] &^= fixedTPM }, "allow it to leave"},
		"a key that was imported":     {func(e *Evidence, _ *Policy) { e.Key[7] &^= sensitiveDataOrigin }, "imported"},
		"the key asked about differs": {func(_ *Evidence, p *Policy) { p.PublicKey = &other.PublicKey }, "another one than"},
		"a cut key":                   {func(e *Evidence, _ *Policy) { e.Key = e.Key[:len(e.Key)-1] }, "key: it is cut off"},
		// The creation data.
		"other creation data":   {func(e *Evidence, _ *Policy) { e.CreationData = flip(e.CreationData, -1) }, "creation data are others"},
		"no creation data":      {func(e *Evidence, _ *Policy) { e.CreationData = nil }, "creationData is missing"},
		"a quote as a creation": {func(e *Evidence, _ *Policy) { e.Creation = e.Quote }, "about something else"},
		"a creation as a quote": {func(e *Evidence, _ *Policy) { e.Quote = e.Creation }, "about something else"},
		// The signatures.
		"another signature":          {func(e *Evidence, _ *Policy) { e.Creation.Signature = flip(e.Creation.Signature, -1) }, "creation: the signature is wrong"},
		"another signature, a quote": {func(e *Evidence, _ *Policy) { e.Quote.Signature = flip(e.Quote.Signature, -1) }, "quote: the signature is wrong"},
		"another statement":          {func(e *Evidence, _ *Policy) { e.Creation.Info = flip(e.Creation.Info, -1) }, "creation: the signature is wrong"},
		"another hash":               {func(e *Evidence, _ *Policy) { e.Creation.Signature = flip(e.Creation.Signature, 3) }, "hash algorithm"},
		"another scheme":             {func(e *Evidence, _ *Policy) { e.Creation.Signature = flip(e.Creation.Signature, 1) }, "malformed"},
		// The endorsement key and the attestation key.
		"an AK of software":             {func(e *Evidence, _ *Policy) { e.AttestationKey = softKey(&other.PublicKey, akAttributes) }, "another attestation key"},
		"an AK that signs anything":     {func(e *Evidence, _ *Policy) { e.AttestationKey[5] &^= restricted >> 16 }, "did not say"},
		"an AK that decrypts":           {func(e *Evidence, _ *Policy) { e.AttestationKey[5] |= decrypt >> 16 }, "did not say"},
		"no challenge":                  {func(_ *Evidence, p *Policy) { p.Challenge = nil }, "challenge the device"},
		"no answer":                     {func(_ *Evidence, p *Policy) { p.Answer = nil }, "no answer"},
		"a wrong answer":                {func(_ *Evidence, p *Policy) { p.Answer.Secret = flip(p.Answer.Secret, 0) }, "answer to the challenge is wrong"},
		"empty secret and answer":       {func(_ *Evidence, p *Policy) { p.Secret, p.Answer.Secret = nil, nil }, "no answer"},
		"a secret that is none":         {func(_ *Evidence, p *Policy) { p.Secret = append(p.Secret, '\n') }, "the secret of the challenge has 33 bytes, not 32"},
		"a part of the secret":          {func(_ *Evidence, p *Policy) { p.Secret, p.Answer.Secret = p.Secret[:31], p.Answer.Secret[:31] }, "the secret of the challenge has 31 bytes, not 32"},
		"a challenge to another EK":     {func(_ *Evidence, p *Policy) { p.Challenge.EndorsementKey = flip(p.Challenge.EndorsementKey, 40) }, "another endorsement key"},
		"an EK beside its certificate":  {func(e *Evidence, _ *Policy) { e.EndorsementKey = spki(t, &other.PublicKey) }, "certificate is for another key"},
		"no certificate":                {func(e *Evidence, _ *Policy) { e.EndorsementChain = nil }, "no certificate"},
		"an authority as EK":            {func(e *Evidence, p *Policy) { caAsEK(t, e) }, "one of an authority"},
		"a maker that is not trusted":   {func(_ *Evidence, p *Policy) { p.Roots = x509.NewCertPool() }, "unknown authority"},
		"no makers":                     {func(_ *Evidence, p *Policy) { p.Roots = nil }, "no roots"},
		"a certificate of yesterday":    {func(_ *Evidence, p *Policy) { p.Time = p.Time.Add(-48 * time.Hour) }, "not yet valid"},
		"too many certificates":         {func(e *Evidence, _ *Policy) { e.EndorsementChain = make([][]byte, 9) }, "at most"},
		"a certificate that is garbage": {func(e *Evidence, _ *Policy) { e.EndorsementChain[0] = []byte{1} }, "certificate 0"},
		// The platform.
		"a register that changed":  {func(e *Evidence, _ *Policy) { e.PCRs[3].Value = flip(e.PCRs[3].Value, 0) }, "other values"},
		"a register less":          {func(e *Evidence, _ *Policy) { e.PCRs = e.PCRs[:15] }, "other registers"},
		"a register that is bad":   {func(_ *Evidence, p *Policy) { p.PCRs = map[int][]byte{7: {1}} }, "register 7"},
		"a register not attested":  {func(_ *Evidence, p *Policy) { p.PCRs = map[int][]byte{20: {1}} }, "register 20"},
		"registers out of order":   {func(e *Evidence, _ *Policy) { slices.Reverse(e.PCRs) }, "out of order"},
		"a version of tomorrow":    {func(e *Evidence, _ *Policy) { e.Version = 2 }, "version 2"},
		"an AK under another hash": {func(e *Evidence, _ *Policy) { e.AttestationKey[3] = 4 }, "hash algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			e, p := recorded(t)
			test.change(e, p)
			r, err := Verify(e, p)
			if r != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want an error with %q", r, err, test.want)
			}
		})
	}
}

// Not one bit of the evidence may change without notice, the endorsement
// certificate and signatures included.
func TestEveryBitMatters(t *testing.T) {
	e, p := recorded(t)
	parts := map[string]*[]byte{
		"attestation key": &e.AttestationKey, "key": &e.Key, "creation data": &e.CreationData, "endorsement key": &e.EndorsementKey,
		"creation": &e.Creation.Info, "creation signature": &e.Creation.Signature, "quote": &e.Quote.Info, "quote signature": &e.Quote.Signature,
		"certificate": &e.EndorsementChain[0], "register": &e.PCRs[0].Value,
	}
	for name, part := range parts {
		for i := range *part {
			if (testing.Short() || strconv.IntSize == 32) && i%7 != 0 {
				continue // curves are slow on 32 bits
			}
			(*part)[i] ^= byte(1 << (i % 8))
			if _, err := Verify(e, p); err == nil {
				t.Errorf("byte %d of the %s does not matter", i, name)
			}
			(*part)[i] ^= byte(1 << (i % 8))
		}
	}
	if _, err := Verify(e, p); err != nil {
		t.Error(err)
	}
}

func TestMarshal(t *testing.T) {
	e, p := recorded(t)
	for name, v := range map[string]interface{ Marshal() ([]byte, error) }{"evidence.json": e, "challenge.json": p.Challenge, "answer.json": p.Answer} {
		b, err := v.Marshal()
		if err != nil || !bytes.Equal(b, load(t, name)) {
			t.Errorf("%s: it is written otherwise than it was read: %v", name, err)
		}
	}
	if _, err := new(Evidence).Marshal(); err == nil {
		t.Error("empty evidence is written")
	}
}

func TestMalformed(t *testing.T) {
	for name, b := range map[string]string{
		"nothing":            "",
		"no object":          "[]",
		"an unknown field":   `{"version":1,"more":1}`,
		"something behind":   strings.TrimSpace(string(load(t, "evidence.json"))) + "{}",
		"no fields":          `{"version":1}`,
		"too long":           strings.Repeat(" ", maxInput+1),
		"another version":    `{"version":0}`,
		"base64 that is not": `{"version":1,"key":"*"}`,
	} {
		if _, err := Parse([]byte(b)); err == nil {
			t.Errorf("evidence: %s is taken", name)
		}
		if _, err := ParseChallenge([]byte(b)); err == nil {
			t.Errorf("challenge: %s is taken", name)
		}
		if _, err := ParseAnswer([]byte(b)); err == nil {
			t.Errorf("answer: %s is taken", name)
		}
	}
}

// An attestation key in software, in the hands of somebody who knows all rules,
// is found out by the challenge alone; all that a TPM would not say is refused
// even of a known key.
func TestSoftwareTPMIsFoundOut(t *testing.T) {
	e, p := recorded(t)
	f := newForger(t, e)
	forged := f.evidence(t, p.Nonce, nil)
	if _, err := Verify(forged, p); err == nil || !strings.Contains(err.Error(), "another attestation key") {
		t.Errorf("got %v", err)
	}
	ak, err := parsePublic(forged.AttestationKey)
	if err != nil {
		t.Fatal(err)
	}
	name, err := ak.name()
	if err != nil {
		t.Fatal(err)
	}
	p.Known = [][]byte{name}
	if _, err := Verify(forged, p); err != nil {
		t.Fatalf("the forger makes mistakes: %v", err)
	}
	for name, test := range map[string]struct {
		change func(s *said)
		want   string
	}{
		"not from a TPM":          {func(s *said) { s.magic++ }, "does not come from a TPM"},
		"another type":            {func(s *said) { s.creationType = attestQuote }, "about something else"},
		"another key":             {func(s *said) { s.name = append(s.name[:2:2], make([]byte, 32)...) }, "another key"},
		"other creation data":     {func(s *said) { s.hash = make([]byte, 32) }, "creation data are others"},
		"no creation data":        {func(s *said) { s.hash = nil }, "creation data are others"},
		"an AK elsewhere":         {func(s *said) { s.signer = append(s.signer[:2:2], make([]byte, 32)...) }, "another parent"},
		"a nonce that is cut":     {func(s *said) { s.nonce = s.nonce[:8] }, "nonce"},
		"more behind a creation":  {func(s *said) { s.more = []byte{0} }, "malformed"},
		"a quote of another bank": {func(s *said) { s.bank = 4 }, "SHA-256 bank"},
		"a quote of two banks":    {func(s *said) { s.banks = 2 }, "exactly one bank"},
		"other registers":         {func(s *said) { s.selected = []byte{1, 0, 0} }, "other registers"},
		"registers beyond":        {func(s *said) { s.selected = []byte{0xFF, 0xFF, 0, 1} }, "registers 0 to 23"},
		"other values":            {func(s *said) { s.digest = make([]byte, 32) }, "other values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Verify(f.evidence(t, p.Nonce, test.change), p)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

const akAttributes = fixedTPM | fixedParent | sensitiveDataOrigin | restricted | sign

// A forger makes evidence with keys in software.
type forger struct {
	genuine *Evidence
	ak      *ecdsa.PrivateKey
}

func newForger(t *testing.T, genuine *Evidence) *forger {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &forger{genuine, key}
}

// said is what the forger's TPM says.
type said struct {
	magic                     uint32
	creationType              uint16
	nonce, signer, name, hash []byte
	more                      []byte
	banks                     uint32
	bank                      uint16
	selected, digest          []byte
}

func (f *forger) evidence(t *testing.T, nonce []byte, change func(*said)) *Evidence {
	t.Helper()
	e := *f.genuine
	e.AttestationKey = softKey(&f.ak.PublicKey, akAttributes)
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parsePublic(e.Key)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := ak.name()
	keyName, _ := key.name()
	data, err := parseCreationData(e.CreationData)
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := sum(algSHA256, data.qualifiedParent, name)
	hash, _ := sum(algSHA256, e.CreationData)
	var values []byte
	for _, p := range e.PCRs {
		values = append(values, p.Value...)
	}
	digest, _ := sum(algSHA256, values)
	s := &said{magic: generated, creationType: attestCreation, nonce: nonce, signer: nameOf(algSHA256, signer),
		name: keyName, hash: hash, banks: 1, bank: algSHA256, selected: []byte{0xFF, 0xFF, 0}, digest: digest}
	if change != nil {
		change(s)
	}
	header := func(typ uint16) []byte {
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, s.magic), typ)
		b = append(append(b, sized(s.signer)...), sized(s.nonce)...)
		return append(b, make([]byte, 25)...)
	}
	e.Creation = f.sign(t, slices.Concat(header(s.creationType), sized(s.name), sized(s.hash), s.more))
	q := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(header(attestQuote), s.banks), s.bank)
	q = append(append(q, byte(len(s.selected))), s.selected...)
	e.Quote = f.sign(t, append(q, sized(s.digest)...))
	return &e
}

func (f *forger) sign(t *testing.T, info []byte) Statement {
	t.Helper()
	digest := sha256.Sum256(info)
	r, s, err := ecdsa.Sign(rand.Reader, f.ak, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0, algECDSA, 0, algSHA256}
	return Statement{Info: info, Signature: slices.Concat(b, sized(r.Bytes()), sized(s.Bytes()))}
}

// softKey is the public area of a key on P-256.
func softKey(key *ecdsa.PublicKey, attributes uint32) []byte {
	point, err := key.Bytes()
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint32([]byte{0, algECC, 0, algSHA256}, attributes)
	b = append(b, 0, 0, 0, algNull)
	if attributes&restricted != 0 {
		b = append(b, 0, algECDSA, 0, algSHA256)
	} else {
		b = append(b, 0, algNull)
	}
	return slices.Concat(b, []byte{0, curveP256, 0, algNull}, sized(point[1:33]), sized(point[33:]))
}

func spki(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// caAsEK puts the authority's certificate in the place of the endorsement key's.
func caAsEK(t *testing.T, e *Evidence) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	e.EndorsementChain, e.EndorsementKey = [][]byte{der}, spki(t, &key.PublicKey)
}

func FuzzVerify(f *testing.F) {
	f.Add(load(f, "evidence.json"))
	f.Add([]byte(`{"version":1}`))
	_, p := recorded(f)
	genuine, _ := Parse(load(f, "evidence.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse(data)
		if err != nil {
			return
		}
		b, err := e.Marshal()
		if err != nil {
			t.Fatalf("read, but not written: %v", err)
		}
		again, err := Parse(b)
		if err != nil || !same(again, e) {
			t.Fatalf("it is read otherwise than it was written: %v", err)
		}
		if _, err := Verify(e, p); err == nil && !same(e, genuine) {
			t.Errorf("verified: %s", data)
		}
		if c, _, err := NewChallenge(rand.Reader, e); err == nil && len(c.Credential) == 0 {
			t.Error("an empty challenge")
		}
	})
}

func same(a, b *Evidence) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// What a TPM says is taken apart without it being signed first, so that nothing
// may upset that.
func FuzzStructures(f *testing.F) {
	e, _ := recorded(f)
	for _, b := range [][]byte{e.AttestationKey, e.Key, e.CreationData, e.Creation.Info, e.Quote.Info, e.Creation.Signature} {
		f.Add(b)
	}
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePublic(b); err == nil && p.key == nil {
			t.Error("a public area without a key")
		}
		parseCreationData(b)
		if a, err := parseAttested(b, attestCreation); err == nil {
			a.creation()
		}
		if a, err := parseAttested(b, attestQuote); err == nil {
			if q, err := a.quote(); err == nil && !slices.IsSorted(q.indices) {
				t.Error("registers are out of order")
			}
		}
		if checkSignature(ak.key, b, b) == nil {
			t.Error("a signature of itself")
		}
	})
}
