// Package tss2 reads and writes TPM 2.0 key files: the PEM blocks "TSS2 PRIVATE
// KEY" that OpenSSL's tpm2 provider, ssh-tpm-agent and others keep their keys
// in. A key in one is wrapped by a storage key of one TPM and is of use there
// only; nothing in the file is secret in the clear.
//
// The format is that of draft-bottomley-tpm2-keys, "ASN.1 Specification for
// TPM 2.0 Key Files". The package interprets no TPM structure and needs no TPM.
package tss2

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// BlockType is the type of the PEM block.
const BlockType = "TSS2 PRIVATE KEY"

// A Type says what a file holds and how it gets into the TPM.
type Type int

const (
	Loadable   Type = 3 // a key for TPM2_Load
	Importable Type = 4 // a key for TPM2_Import, made elsewhere for this TPM
	Sealed     Type = 5 // data for TPM2_Load and TPM2_Unseal
)

func (t Type) String() string {
	switch t {
	case Loadable:
		return "loadable key"
	case Importable:
		return "importable key"
	case Sealed:
		return "sealed data"
	}
	return fmt.Sprintf("type %d", int(t))
}

// A Key is what a file says.
type Key struct {
	Type Type
	// EmptyAuth says that the key has no authorization value, so that no program
	// need ask for one. Some programs write false although there is none.
	EmptyAuth bool
	// Policy is the DER of the SEQUENCE OF TPMPolicy by which the key is
	// authorized, nil for none.
	Policy []byte
	// Secret is the encrypted seed of an importable key, a
	// TPM2B_ENCRYPTED_SECRET without its length.
	Secret []byte
	// AuthPolicy is the DER of the SEQUENCE OF TPMAuthPolicy, nil for none.
	AuthPolicy  []byte
	Description string
	// RSAParent says that a Parent that is a hierarchy stands for its RSA primary
	// key rather than the one on P-256.
	RSAParent bool
	// Parent is the handle of the wrapping key: a persistent one, or a hierarchy,
	// 0x40000001 for the owner's, for its primary key with the standard template.
	Parent uint32
	// Public and Private are the TPMT_PUBLIC and the private part as the TPM has
	// made them, each without its length.
	Public, Private []byte
}

// HasPolicy reports whether something else than an authorization value is needed
// to use the key.
func (k *Key) HasPolicy() bool { return k.Policy != nil || k.AuthPolicy != nil }

// maxFile is the longest file that is read. The longest key is 4 KiB, and
// policies add to it.
const maxFile = 64 << 10

// ErrNoKey is what ParsePEM returns for text without a TSS2 PRIVATE KEY block.
var ErrNoKey = errors.New("tss2: no PEM block " + BlockType)

// ParsePEM reads the first TSS2 PRIVATE KEY block in data. What stands around it
// is ignored.
func ParsePEM(data []byte) (*Key, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, ErrNoKey
		}
		if block.Type == BlockType {
			return Parse(block.Bytes)
		}
	}
}

// MarshalPEM returns the key as a PEM block.
func (k *Key) MarshalPEM() ([]byte, error) {
	der, err := k.Marshal()
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: BlockType, Bytes: der}), nil
}

// The elements of DER, X.690.
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagOID         = 0x06
	tagUTF8String  = 0x0C
	tagSequence    = 0x30
	tagContext     = 0xA0 // constructed, and the number
)

// oid is 2.23.133.10.1, the arc of the TCG for key files; the type follows.
var oid = []byte{0x67, 0x81, 0x05, 0x0A, 0x01}

// Parse reads the DER in a block. It takes what programs write though they
// should not: a TRUE that is not 0xFF (tpm2-openssl 1.1), a parent that is a
// negative number or 0 for the owner's hierarchy (older engines), and elements
// with tags it does not know, which it ignores.
func Parse(der []byte) (*Key, error) {
	if len(der) > maxFile {
		return nil, fmt.Errorf("tss2: a file of %d bytes; there are at most %d", len(der), maxFile)
	}
	d := decoder{rest: der}
	d = decoder{rest: d.element(tagSequence, "the key"), err: d.end("the key")}
	k := new(Key)
	id := d.element(tagOID, "the type")
	if d.err == nil {
		if len(id) != len(oid)+1 || !bytes.HasPrefix(id, oid) || id[len(oid)] < byte(Loadable) || id[len(oid)] > byte(Sealed) {
			return nil, errors.New("tss2: the type is none of loadable, importable and sealed")
		}
		k.Type = Type(id[len(oid)])
	}
	for last := -1; d.err == nil && len(d.rest) > 0 && d.rest[0]&0xE0 == tagContext; {
		number := int(d.rest[0] & 0x1F)
		field := decoder{rest: d.element(d.rest[0], "an optional element")}
		if d.err != nil {
			break
		}
		if number <= last || number == 0x1F {
			return nil, fmt.Errorf("tss2: optional element %d is not where it belongs", number)
		}
		last = number
		switch number {
		case 0:
			k.EmptyAuth = field.boolean("emptyAuth")
		case 1:
			k.Policy = field.whole(tagSequence, "policy")
		case 2:
			k.Secret = field.sized("secret")
		case 3:
			k.AuthPolicy = field.whole(tagSequence, "authPolicy")
		case 4:
			k.Description = string(field.element(tagUTF8String, "description"))
			if !utf8.ValidString(k.Description) {
				return nil, errors.New("tss2: description is not UTF-8")
			}
		case 5:
			k.RSAParent = field.boolean("rsaParent")
		default:
			continue
		}
		if err := field.end("an optional element"); err != nil {
			return nil, err
		}
	}
	k.Parent = d.parent()
	k.Public = d.sized("pubkey")
	k.Private = d.sized("privkey")
	if err := d.end("privkey"); err != nil {
		return nil, err
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	return k, nil
}

// ownerHierarchy is TPM_RH_OWNER.
const ownerHierarchy = 0x40000001

// check holds for a file that is read and for one that is written.
func (k *Key) check() error {
	switch {
	case k.Type < Loadable || k.Type > Sealed:
		return fmt.Errorf("tss2: %v is none of loadable, importable and sealed", k.Type)
	case len(k.Public) == 0 || len(k.Private) == 0:
		return errors.New("tss2: the public or the private part is empty")
	case k.Type == Importable && len(k.Secret) == 0:
		return errors.New("tss2: an importable key without its secret")
	case k.Parent == 0:
		return errors.New("tss2: no parent")
	}
	return nil
}

// Marshal returns the DER of the key. The two parts, the seed and the policies
// have to fit a file of 64 KiB.
func (k *Key) Marshal() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if max(len(k.Public), len(k.Private), len(k.Secret)) > math.MaxUint16 {
		return nil, errors.New("tss2: a part has more than 65535 bytes")
	}
	b := element(tagOID, append(bytes.Clone(oid), byte(k.Type)))
	// tpm2-openssl 1.1 takes an emptyAuth that is not there for TRUE.
	empty := byte(0)
	if k.EmptyAuth {
		empty = 0xFF
	}
	b = append(b, element(tagContext, element(tagBoolean, []byte{empty}))...)
	if k.Policy != nil {
		b = append(b, element(tagContext|1, k.Policy)...)
	}
	if k.Secret != nil {
		b = append(b, element(tagContext|2, element(tagOctetString, sized(k.Secret)))...)
	}
	if k.AuthPolicy != nil {
		b = append(b, element(tagContext|3, k.AuthPolicy)...)
	}
	if k.Description != "" {
		if !utf8.ValidString(k.Description) {
			return nil, errors.New("tss2: description is not UTF-8")
		}
		b = append(b, element(tagContext|4, element(tagUTF8String, []byte(k.Description)))...)
	}
	if k.RSAParent {
		b = append(b, element(tagContext|5, element(tagBoolean, []byte{0xFF}))...)
	}
	b = append(b, element(tagInteger, integer(k.Parent))...)
	b = append(b, element(tagOctetString, sized(k.Public))...)
	b = append(b, element(tagOctetString, sized(k.Private))...)
	b = element(tagSequence, b)
	if len(b) > maxFile {
		return nil, fmt.Errorf("tss2: a file of %d bytes; there are at most %d", len(b), maxFile)
	}
	return b, nil
}

// element returns an element of DER.
func element(tag byte, content []byte) []byte {
	b := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		b = append(b, byte(n))
	case n < 1<<8:
		b = append(b, 0x81, byte(n))
	case n < 1<<16:
		b = append(b, 0x82, byte(n>>8), byte(n))
	default:
		b = append(b, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, content...)
}

// sized returns a TPM2B.
func sized(content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(content))), content...)
}

// integer returns the content of an INTEGER.
func integer(v uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, v)
	for len(b) > 1 && b[0] == 0 && b[1] < 0x80 {
		b = b[1:]
	}
	return b
}

// A decoder takes elements off rest, until there is an error.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(name, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("tss2: %s: %s", name, fmt.Sprintf(format, args...))
	}
}

// end returns the error, or one for bytes that are left.
func (d *decoder) end(name string) error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail(name, "%d bytes more than there should be", len(d.rest))
	}
	return d.err
}

// element takes an element with the given tag and returns its content, which is
// not nil.
func (d *decoder) element(tag byte, name string) []byte {
	all := d.whole(tag, name)
	if d.err != nil {
		return nil
	}
	_, skip, _ := length(all)
	return all[skip:]
}

// whole takes an element with the given tag and returns all of it.
func (d *decoder) whole(tag byte, name string) []byte {
	if d.err != nil {
		return nil
	}
	if len(d.rest) == 0 {
		d.fail(name, "it is missing")
		return nil
	}
	if d.rest[0] != tag {
		d.fail(name, "found tag %#02x, want %#02x", d.rest[0], tag)
		return nil
	}
	n, skip, ok := length(d.rest)
	if !ok || n > len(d.rest)-skip {
		d.fail(name, "it is cut off")
		return nil
	}
	all := d.rest[: skip+n : skip+n]
	d.rest = d.rest[skip+n:]
	return all
}

// length returns the length of an element's content and of what precedes it.
func length(b []byte) (n, skip int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	if b[1] < 0x80 {
		return int(b[1]), 2, true
	}
	count := int(b[1] & 0x7F)
	if count == 0 || count > 3 || len(b) < 2+count {
		return 0, 0, false
	}
	for _, c := range b[2 : 2+count] {
		n = n<<8 | int(c)
	}
	return n, 2 + count, true
}

func (d *decoder) boolean(name string) bool {
	b := d.element(tagBoolean, name)
	if d.err == nil && len(b) != 1 {
		d.fail(name, "a truth value of %d bytes", len(b))
	}
	return d.err == nil && b[0] != 0
}

// sized takes an OCTET STRING that holds a TPM2B and returns what is in that.
func (d *decoder) sized(name string) []byte {
	b := d.element(tagOctetString, name)
	if d.err != nil {
		return nil
	}
	if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(b)-2 {
		d.fail(name, "its length and the one in it differ")
		return nil
	}
	return bytes.Clone(b[2:])
}

func (d *decoder) parent() uint32 {
	b := d.element(tagInteger, "parent")
	if d.err != nil {
		return 0
	}
	for len(b) > 4 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 4 {
		d.fail("parent", "it is not a handle")
		return 0
	}
	// A negative number is a handle that was taken for a signed one.
	var v uint32
	if len(b) < 4 && b[0] >= 0x80 {
		v = math.MaxUint32
	}
	for _, c := range b {
		v = v<<8 | uint32(c)
	}
	if v == 0 {
		v = ownerHierarchy
	}
	return v
}
