package cryptoki

import "github.com/go-cryptoki/cryptoki/pkcs11"

// The labels under which gateways keep what they need: the storage places of
// the FreeRTOS PAL. Each is a role that one object of its class fills. An object
// that is created under one of them on the token without a CKA_ID takes the
// place of the one that is there, as corePKCS11 and its tests have it; under any
// other label, and with a CKA_ID, the standard's rule holds and there may be
// several.
const (
	DevicePrivateKey = "Device Priv TLS Key" // private key of the device's identity
	DevicePublicKey  = "Device Pub TLS Key"  // its public key
	DeviceCert       = "Device Cert"         // its certificate
	RootCert         = "Root Cert"           // trusted root CA of the servers
	CodeVerifyKey    = "Code Verify Key"     // public key, or certificate, that verifies updates
	JITPCert         = "JITP Cert"           // certificate of the CA for just-in-time provisioning
	ClaimKey         = "Claim Key"           // private key for fleet provisioning
	ClaimCert        = "Claim Cert"          // its certificate
	HMACKey          = "HMAC Key"            // secret key
	CMACKey          = "CMAC Key"            // secret key
)

// isPlace reports whether an object of that class and label is one of the
// storage places above.
func isPlace(class pkcs11.ObjectClass, label string) bool {
	switch label {
	case DevicePrivateKey, ClaimKey:
		return class == pkcs11.CKO_PRIVATE_KEY
	case DevicePublicKey:
		return class == pkcs11.CKO_PUBLIC_KEY
	case DeviceCert, RootCert, JITPCert, ClaimCert:
		return class == pkcs11.CKO_CERTIFICATE
	case CodeVerifyKey:
		return class == pkcs11.CKO_PUBLIC_KEY || class == pkcs11.CKO_CERTIFICATE
	case HMACKey, CMACKey:
		return class == pkcs11.CKO_SECRET_KEY
	}
	return false
}
