package rpc

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A parameter is how the parameter of a mechanism travels.
type parameter uint8

const (
	paramNone  parameter = iota // there is none
	paramBytes                  // an initialization vector, a public value, or what nobody knows
	paramPSS
	paramOAEP
	paramECDH
	paramEDDSA
	paramCTR
	paramGCM
	paramGeneral
	paramHKDF
)

// params are the mechanisms that the protocol has. A client of p11-kit does not
// show its program another one.
var params = map[pkcs11.MechanismType]parameter{
	pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN: paramNone, pkcs11.CKM_RSA_X9_31_KEY_PAIR_GEN: paramNone,
	pkcs11.CKM_RSA_PKCS: paramNone, pkcs11.CKM_RSA_9796: paramNone, pkcs11.CKM_RSA_X_509: paramNone,
	pkcs11.CKM_RSA_X9_31: paramNone, pkcs11.CKM_MD2_RSA_PKCS: paramNone, pkcs11.CKM_MD5_RSA_PKCS: paramNone,
	pkcs11.CKM_SHA1_RSA_PKCS: paramNone, pkcs11.CKM_SHA224_RSA_PKCS: paramNone, pkcs11.CKM_SHA256_RSA_PKCS: paramNone,
	pkcs11.CKM_SHA384_RSA_PKCS: paramNone, pkcs11.CKM_SHA512_RSA_PKCS: paramNone,
	pkcs11.CKM_RIPEMD128_RSA_PKCS: paramNone, pkcs11.CKM_RIPEMD160_RSA_PKCS: paramNone,
	pkcs11.CKM_SHA1_RSA_X9_31: paramNone, pkcs11.CKM_DSA_KEY_PAIR_GEN: paramNone,
	pkcs11.CKM_DSA_PARAMETER_GEN: paramNone, pkcs11.CKM_DSA: paramNone, pkcs11.CKM_DSA_SHA1: paramNone,
	pkcs11.CKM_EC_KEY_PAIR_GEN: paramNone, pkcs11.CKM_ECDSA: paramNone, pkcs11.CKM_ECDSA_SHA1: paramNone,
	pkcs11.CKM_ECDSA_SHA224: paramNone, pkcs11.CKM_ECDSA_SHA256: paramNone, pkcs11.CKM_ECDSA_SHA384: paramNone,
	pkcs11.CKM_ECDSA_SHA512: paramNone, pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN: paramNone,
	pkcs11.CKM_DH_PKCS_KEY_PAIR_GEN: paramNone, pkcs11.CKM_DH_PKCS_PARAMETER_GEN: paramNone,
	pkcs11.CKM_X9_42_DH_KEY_PAIR_GEN: paramNone, pkcs11.CKM_X9_42_DH_PARAMETER_GEN: paramNone,
	pkcs11.CKM_GENERIC_SECRET_KEY_GEN: paramNone, pkcs11.CKM_RC2_KEY_GEN: paramNone, pkcs11.CKM_RC4_KEY_GEN: paramNone,
	pkcs11.CKM_RC4: paramNone, pkcs11.CKM_RC5_KEY_GEN: paramNone, pkcs11.CKM_AES_KEY_GEN: paramNone,
	pkcs11.CKM_AES_ECB: paramNone, pkcs11.CKM_AES_MAC: paramNone, pkcs11.CKM_AES_CMAC: paramNone,
	pkcs11.CKM_DES_KEY_GEN: paramNone, pkcs11.CKM_DES2_KEY_GEN: paramNone, pkcs11.CKM_DES3_KEY_GEN: paramNone,
	pkcs11.CKM_CDMF_KEY_GEN: paramNone, pkcs11.CKM_CAST_KEY_GEN: paramNone, pkcs11.CKM_CAST3_KEY_GEN: paramNone,
	pkcs11.CKM_CAST128_KEY_GEN: paramNone, pkcs11.CKM_IDEA_KEY_GEN: paramNone,
	pkcs11.CKM_SSL3_PRE_MASTER_KEY_GEN: paramNone, pkcs11.CKM_TLS_PRE_MASTER_KEY_GEN: paramNone,
	pkcs11.CKM_SKIPJACK_KEY_GEN: paramNone, pkcs11.CKM_BATON_KEY_GEN: paramNone, pkcs11.CKM_JUNIPER_KEY_GEN: paramNone,
	pkcs11.CKM_RC2_ECB: paramNone, pkcs11.CKM_DES_ECB: paramNone, pkcs11.CKM_DES3_ECB: paramNone,
	pkcs11.CKM_CDMF_ECB: paramNone, pkcs11.CKM_CAST_ECB: paramNone, pkcs11.CKM_CAST3_ECB: paramNone,
	pkcs11.CKM_CAST128_ECB: paramNone, pkcs11.CKM_RC5_ECB: paramNone, pkcs11.CKM_IDEA_ECB: paramNone,
	pkcs11.CKM_RC2_MAC: paramNone, pkcs11.CKM_DES_MAC: paramNone, pkcs11.CKM_DES3_MAC: paramNone,
	pkcs11.CKM_DES3_CMAC: paramNone, pkcs11.CKM_CDMF_MAC: paramNone, pkcs11.CKM_CAST_MAC: paramNone,
	pkcs11.CKM_CAST3_MAC: paramNone, pkcs11.CKM_RC5_MAC: paramNone, pkcs11.CKM_IDEA_MAC: paramNone,
	pkcs11.CKM_SSL3_MD5_MAC: paramNone, pkcs11.CKM_SSL3_SHA1_MAC: paramNone, pkcs11.CKM_SKIPJACK_WRAP: paramNone,
	pkcs11.CKM_BATON_WRAP: paramNone, pkcs11.CKM_JUNIPER_WRAP: paramNone, pkcs11.CKM_FORTEZZA_TIMESTAMP: paramNone,
	pkcs11.CKM_KEA_KEY_PAIR_GEN: paramNone, pkcs11.CKM_MD2: paramNone, pkcs11.CKM_MD2_HMAC: paramNone,
	pkcs11.CKM_MD5: paramNone, pkcs11.CKM_MD5_HMAC: paramNone, pkcs11.CKM_SHA_1: paramNone,
	pkcs11.CKM_SHA_1_HMAC: paramNone, pkcs11.CKM_SHA1_KEY_DERIVATION: paramNone, pkcs11.CKM_SHA224: paramNone,
	pkcs11.CKM_SHA224_HMAC: paramNone, pkcs11.CKM_SHA224_KEY_DERIVATION: paramNone, pkcs11.CKM_SHA256: paramNone,
	pkcs11.CKM_SHA256_HMAC: paramNone, pkcs11.CKM_SHA256_KEY_DERIVATION: paramNone, pkcs11.CKM_SHA384: paramNone,
	pkcs11.CKM_SHA384_HMAC: paramNone, pkcs11.CKM_SHA384_KEY_DERIVATION: paramNone, pkcs11.CKM_SHA512: paramNone,
	pkcs11.CKM_SHA512_HMAC: paramNone, pkcs11.CKM_SHA512_KEY_DERIVATION: paramNone, pkcs11.CKM_SHA512_T: paramNone,
	pkcs11.CKM_SHA512_T_HMAC: paramNone, pkcs11.CKM_SHA512_T_KEY_DERIVATION: paramNone,
	pkcs11.CKM_SHA512_224: paramNone, pkcs11.CKM_SHA512_224_HMAC: paramNone,
	pkcs11.CKM_SHA512_224_KEY_DERIVATION: paramNone, pkcs11.CKM_SHA512_256: paramNone,
	pkcs11.CKM_SHA512_256_HMAC: paramNone, pkcs11.CKM_SHA512_256_KEY_DERIVATION: paramNone,
	pkcs11.CKM_FASTHASH: paramNone, pkcs11.CKM_RIPEMD128: paramNone, pkcs11.CKM_RIPEMD128_HMAC: paramNone,
	pkcs11.CKM_RIPEMD160: paramNone, pkcs11.CKM_RIPEMD160_HMAC: paramNone, pkcs11.CKM_KEY_WRAP_LYNKS: paramNone,

	pkcs11.CKM_RSA_PKCS_PSS: paramPSS, pkcs11.CKM_SHA1_RSA_PKCS_PSS: paramPSS, pkcs11.CKM_SHA224_RSA_PKCS_PSS: paramPSS,
	pkcs11.CKM_SHA256_RSA_PKCS_PSS: paramPSS, pkcs11.CKM_SHA384_RSA_PKCS_PSS: paramPSS,
	pkcs11.CKM_SHA512_RSA_PKCS_PSS: paramPSS,
	pkcs11.CKM_AES_CBC:             paramBytes, pkcs11.CKM_AES_CBC_PAD: paramBytes, pkcs11.CKM_AES_OFB: paramBytes,
	pkcs11.CKM_AES_CFB1: paramBytes, pkcs11.CKM_AES_CFB8: paramBytes, pkcs11.CKM_AES_CFB64: paramBytes,
	pkcs11.CKM_AES_CFB128: paramBytes, pkcs11.CKM_AES_CTS: paramBytes, pkcs11.CKM_DES_CBC: paramBytes,
	pkcs11.CKM_DES_CBC_PAD: paramBytes, pkcs11.CKM_DES3_CBC: paramBytes, pkcs11.CKM_DES3_CBC_PAD: paramBytes,
	pkcs11.CKM_DES_CFB8: paramBytes, pkcs11.CKM_DES_CFB64: paramBytes, pkcs11.CKM_DES_OFB64: paramBytes,
	pkcs11.CKM_DH_PKCS_DERIVE:     paramBytes,
	pkcs11.CKM_SHA_1_HMAC_GENERAL: paramGeneral, pkcs11.CKM_SHA224_HMAC_GENERAL: paramGeneral,
	pkcs11.CKM_SHA256_HMAC_GENERAL: paramGeneral, pkcs11.CKM_SHA384_HMAC_GENERAL: paramGeneral,
	pkcs11.CKM_SHA512_HMAC_GENERAL: paramGeneral, pkcs11.CKM_SHA512_224_HMAC_GENERAL: paramGeneral,
	pkcs11.CKM_SHA512_256_HMAC_GENERAL: paramGeneral, pkcs11.CKM_AES_MAC_GENERAL: paramGeneral,
	pkcs11.CKM_AES_CMAC_GENERAL: paramGeneral, pkcs11.CKM_DES3_MAC_GENERAL: paramGeneral,
	pkcs11.CKM_DES3_CMAC_GENERAL: paramGeneral,
	pkcs11.CKM_RSA_PKCS_OAEP:     paramOAEP, pkcs11.CKM_ECDH1_DERIVE: paramECDH, pkcs11.CKM_EDDSA: paramEDDSA,
	pkcs11.CKM_AES_CTR: paramCTR, pkcs11.CKM_AES_GCM: paramGCM,
}

// ownParams are those that our own dialect adds. Every other mechanism has no
// parameter there, or bytes.
var ownParams = map[pkcs11.MechanismType]parameter{
	pkcs11.CKM_SHA3_224_RSA_PKCS_PSS: paramPSS, pkcs11.CKM_SHA3_256_RSA_PKCS_PSS: paramPSS,
	pkcs11.CKM_SHA3_384_RSA_PKCS_PSS: paramPSS, pkcs11.CKM_SHA3_512_RSA_PKCS_PSS: paramPSS,
	pkcs11.CKM_HKDF_DERIVE:           paramHKDF,
	pkcs11.CKM_ECDH1_COFACTOR_DERIVE: paramECDH,
	pkcs11.CKM_SHA3_224_HMAC_GENERAL: paramGeneral, pkcs11.CKM_SHA3_256_HMAC_GENERAL: paramGeneral,
	pkcs11.CKM_SHA3_384_HMAC_GENERAL: paramGeneral, pkcs11.CKM_SHA3_512_HMAC_GENERAL: paramGeneral,
}

// paramOf returns the form of a mechanism's parameter; false if the mechanism
// cannot be sent.
func paramOf(m pkcs11.MechanismType, own bool) (parameter, bool) {
	if p, ok := params[m]; ok {
		return p, true
	}
	if p, ok := ownParams[m]; ok && own {
		return p, true
	}
	return paramBytes, own
}

// noMechanism stands for a NULL pointer, which cancels an operation, since
// version 1.
const noMechanism = 0xffffffff

// mechanism reads an M; nil is a NULL pointer.
func (r *reader) mechanism() *pkcs11.Mechanism {
	t := r.uint32()
	if t == noMechanism && r.version >= 1 {
		return nil
	}
	m := &pkcs11.Mechanism{Type: pkcs11.MechanismType(t)}
	form, _ := paramOf(m.Type, r.own)
	switch {
	case r.version < 2 && form == paramNone:
		if b := r.array(); b != nil {
			m.Params = b
		}
		return m
	case r.version < 2:
	case form == paramNone && !r.own:
		return m
	case r.byte() == 0:
		return m
	}
	switch form {
	case paramPSS:
		m.Params = &pkcs11.PSSParams{HashAlg: pkcs11.MechanismType(r.uint64()), MGF: pkcs11.MGFType(r.uint64()), SaltLen: r.uint64()}
	case paramOAEP:
		m.Params = &pkcs11.OAEPParams{HashAlg: pkcs11.MechanismType(r.uint64()), MGF: pkcs11.MGFType(r.uint64()),
			Source: pkcs11.SourceType(r.uint64()), Label: r.array()}
	case paramECDH:
		m.Params = &pkcs11.ECDH1DeriveParams{KDF: pkcs11.KDFType(r.uint64()), SharedData: r.array(), PublicData: r.array()}
	case paramEDDSA:
		m.Params = &pkcs11.EDDSAParams{Prehash: r.byte() != 0, Context: r.array()}
	case paramCTR:
		p := &pkcs11.CTRParams{CounterBits: r.uint64()}
		if b := r.array(); len(b) == len(p.Counter) {
			copy(p.Counter[:], b)
		} else {
			r.fail("a counter block has the wrong length")
		}
		m.Params = p
	case paramGCM:
		m.Params = &pkcs11.GCMParams{IV: r.array(), IVBits: r.uint64(), AAD: r.array(), TagBits: r.uint64()}
	case paramGeneral:
		m.Params = &pkcs11.MACGeneralParams{MACLen: r.uint64()}
	case paramHKDF:
		m.Params = &pkcs11.HKDFParams{Extract: r.byte() != 0, Expand: r.byte() != 0, PRF: pkcs11.MechanismType(r.uint64()),
			SaltType: r.uint64(), Salt: r.array(), SaltKey: pkcs11.ObjectHandle(r.uint64()), Info: r.array()}
	default:
		if b := r.array(); b != nil {
			m.Params = b
		}
	}
	return m
}

// mechanism writes an M. The error wraps CKR_MECHANISM_INVALID or
// CKR_MECHANISM_PARAM_INVALID for what the protocol cannot carry.
func (w *writer) mechanism(m *pkcs11.Mechanism) error {
	if m == nil {
		return fmt.Errorf("%w: no mechanism is given", pkcs11.CKR_ARGUMENTS_BAD)
	}
	form, ok := paramOf(m.Type, w.own)
	if !ok {
		return fmt.Errorf("%w: p11-kit's protocol does not have %v", pkcs11.CKR_MECHANISM_INVALID, m.Type)
	}
	w.uint32(uint32(m.Type))
	switch {
	case form == paramNone && w.version < 2:
		w.array(nil)
		if m.Params != nil {
			return badParams(m)
		}
		return nil
	case form == paramNone && !w.own:
		if m.Params != nil {
			return badParams(m)
		}
		return nil
	case w.version >= 2:
		w.bool(m.Params != nil)
		if m.Params == nil {
			return nil
		}
	case m.Params == nil:
		return fmt.Errorf("%w: %v without a parameter cannot be sent in version %d of p11-kit's protocol", pkcs11.CKR_MECHANISM_PARAM_INVALID, m.Type, w.version)
	}
	switch p := m.Params.(type) {
	case *pkcs11.PSSParams:
		if form != paramPSS || p == nil {
			return badParams(m)
		}
		w.uint64(uint64(p.HashAlg))
		w.uint64(uint64(p.MGF))
		w.uint64(p.SaltLen)
	case *pkcs11.OAEPParams:
		if form != paramOAEP || p == nil {
			return badParams(m)
		}
		w.uint64(uint64(p.HashAlg))
		w.uint64(uint64(p.MGF))
		w.uint64(uint64(p.Source))
		w.array(p.Label)
	case *pkcs11.ECDH1DeriveParams:
		if form != paramECDH || p == nil {
			return badParams(m)
		}
		w.uint64(uint64(p.KDF))
		w.array(p.SharedData)
		w.array(p.PublicData)
	case *pkcs11.EDDSAParams:
		if form != paramEDDSA || p == nil {
			return badParams(m)
		}
		w.bool(p.Prehash)
		w.array(p.Context)
	case *pkcs11.CTRParams:
		if form != paramCTR || p == nil {
			return badParams(m)
		}
		w.uint64(p.CounterBits)
		w.array(p.Counter[:])
	case *pkcs11.GCMParams:
		if form != paramGCM || p == nil {
			return badParams(m)
		}
		bits := p.IVBits
		if bits == 0 {
			bits = 8 * uint64(len(p.IV))
		}
		w.array(p.IV)
		w.uint64(bits)
		w.array(p.AAD)
		w.uint64(p.TagBits)
	case *pkcs11.MACGeneralParams:
		if form != paramGeneral || p == nil {
			return badParams(m)
		}
		w.uint64(p.MACLen)
	case *pkcs11.HKDFParams:
		if form != paramHKDF || p == nil {
			return badParams(m)
		}
		w.bool(p.Extract)
		w.bool(p.Expand)
		w.uint64(uint64(p.PRF))
		w.uint64(p.SaltType)
		w.array(p.Salt)
		w.uint64(uint64(p.SaltKey))
		w.array(p.Info)
	case []byte:
		if form != paramBytes && !(form == paramNone && w.own) {
			return badParams(m)
		}
		w.array(p)
	default:
		return badParams(m)
	}
	return nil
}

func badParams(m *pkcs11.Mechanism) error {
	return fmt.Errorf("%w: %v does not take a %T", pkcs11.CKR_MECHANISM_PARAM_INVALID, m.Type, m.Params)
}

// updatedParams writes a P: what a mechanism changed in its parameter. None of
// those that a Module can have does.
func (w *writer) updatedParams(m *pkcs11.Mechanism) {
	if form, _ := paramOf(m.Type, w.own); form != paramNone || w.own {
		w.byte(0)
	}
}
