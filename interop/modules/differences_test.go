package modules

// A difference is something that a module does otherwise than the standard demands.
// All modules here are of version 2.40, so the clauses are of that version, and only
// what is certain is here: no demand of ours that goes beyond the standard's, and
// nothing that p11-kit between the module and us may have done.
type difference struct {
	module  string
	cases   []string // that show it
	symptom string   // what is in the recorded line of each
	does    string
	demands string
	clause  string
}

var differences = []difference{
	{"SoftHSM2", []string{"MBT-Sign-4-EC", "COD-05"}, "got CKR_OBJECT_HANDLE_INVALID, want CKR_KEY_HANDLE_INVALID",
		"Signing and encrypting with a handle that is none is CKR_OBJECT_HANDLE_INVALID.",
		"CKR_KEY_HANDLE_INVALID; the other code is not among those of C_SignInit and C_EncryptInit.", "§5.1.6, §5.8, §5.11"},
	{"SoftHSM2", []string{"MBT-Generation-5", "COD-15"}, "got CKR_OK, want CKR_TEMPLATE_INCONSISTENT",
		"A template with two different values for one attribute makes an object.",
		"CKR_TEMPLATE_INCONSISTENT: two different values are the standard's own example of an inconsistent template.", "§4.1.1"},
	{"SoftHSM2", []string{"OBJ-08"}, "got CKR_ATTRIBUTE_VALUE_INVALID, want CKR_TEMPLATE_INCONSISTENT",
		"C_GenerateKeyPair with CKO_PRIVATE_KEY for the public key is CKR_ATTRIBUTE_VALUE_INVALID.",
		"CKR_TEMPLATE_INCONSISTENT for a key type that the mechanism does not make, and CKA_CLASS is treated similarly.", "§5.13, C_GenerateKeyPair"},
	{"SoftHSM2", []string{"DIG-03"}, "Digest: got CKR_OK",
		"C_Digest after C_DigestUpdate succeeds, and ends the operation.",
		"C_Digest cannot end a multi-part operation; it comes after C_DigestInit without C_DigestUpdate between them.", "§5.10, C_Digest"},
	{"SoftHSM2", []string{"COD-06"}, "Encrypt: got CKR_OK",
		"C_Encrypt after C_EncryptUpdate succeeds, and ends the operation.",
		"C_Encrypt cannot end a multi-part operation; it comes after C_EncryptInit without C_EncryptUpdate between them.", "§5.8, C_Encrypt"},
	{"SoftHSM2", []string{"SGN-07", "MBT-Sign-25-RSA"}, "got CKR_GENERAL_ERROR, want CKR_DATA_LEN_RANGE",
		"Data that is too long for CKM_RSA_PKCS is CKR_GENERAL_ERROR at C_Sign.",
		"CKR_DATA_LEN_RANGE, for more than k−11 bytes. CKR_GENERAL_ERROR is for what is unrecoverable.", "§5.1.1, §5.11, C_Sign; mechanisms §2.1.6"},
	{"SoftHSM2", []string{"COD-17"}, "Encrypt: got CKR_GENERAL_ERROR",
		"Data that an RSA key cannot encrypt is CKR_GENERAL_ERROR at C_Encrypt.",
		"CKR_DATA_LEN_RANGE or CKR_DATA_INVALID.", "§5.1.1, §5.8, C_Encrypt"},
	{"SoftHSM2", []string{"CRY-01", "CRY-05"}, "got CKR_GENERAL_ERROR, want CKR_ENCRYPTED_DATA_INVALID",
		"Ciphertext with wrong padding, of RSA and of AES-CBC, is CKR_GENERAL_ERROR at C_Decrypt.",
		"CKR_ENCRYPTED_DATA_INVALID.", "§5.1.1, §5.1.6, §5.9, C_Decrypt"},
	{"SoftHSM2", []string{"LOG-04"}, "Logout: got CKR_OK",
		"C_Logout succeeds while nobody is logged in.",
		"CKR_USER_NOT_LOGGED_IN.", "§5.1.6, §5.6, C_Logout"},
	{"SoftHSM2", []string{"OBJ-06", "SEC-04"}, "objects that were left; got 1, want 0",
		"C_CreateObject fails with CKR_TEMPLATE_INCOMPLETE and leaves the object, without its value, on the token.",
		"A call that cannot support the template fails without creating any object.", "§5.7, C_CreateObject"},
	{"SoftHSM2", []string{"SGN-11", "SEC-05"}, "got CKR_OK, want CKR_KEY_TYPE_INCONSISTENT",
		"C_SignInit takes an EC key for CKM_RSA_PKCS, and an AES key for CKM_ECDSA.",
		"CKR_KEY_TYPE_INCONSISTENT.", "§5.1.6, §5.11, C_SignInit"},

	{"tpm2-pkcs11", []string{"LOG-02"}, "got CKR_USER_ALREADY_LOGGED_IN, want CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
		"Login of the SO while the user is logged in is CKR_USER_ALREADY_LOGGED_IN.",
		"CKR_USER_ANOTHER_ALREADY_LOGGED_IN; the other code is for the same user.", "§5.1.6, §5.6, C_Login"},
	{"tpm2-pkcs11", []string{"LOG-08"}, "InitPIN: got CKR_SESSION_READ_ONLY",
		"C_InitPIN in a read/write session in which nobody is logged in is CKR_SESSION_READ_ONLY.",
		"CKR_USER_NOT_LOGGED_IN in any state but that of the SO; the session is not read-only.", "§5.5, C_InitPIN"},
	{"tpm2-pkcs11", []string{"TOK-02"}, "lack some of CKF_EC_F_P",
		"CKM_EC_KEY_PAIR_GEN makes keys on named curves over F_p, and its flags say that it cannot.",
		"CKF_EC_F_P and CKF_EC_NAMEDCURVE are set if the mechanism can be used with such parameters.", "mechanisms §2.3"},
	{"tpm2-pkcs11", []string{"LOG-04"}, "GetAttributeValue: got CKR_OK",
		"The handle of a private key is good after C_Logout.",
		"When the user has logged out, the application's handles to private objects become invalid.", "§5.6, C_Logout"},
	{"tpm2-pkcs11", []string{"LOG-12"}, "SetPIN: got CKR_OK",
		"C_SetPIN takes a PIN that is longer than the token's ulMaxPinLen.",
		"CKR_PIN_LEN_RANGE; ulMaxPinLen is the maximum length of the PIN.", "§3.2, §5.5, C_SetPIN"},
	{"tpm2-pkcs11", []string{"SES-07"}, "GetAttributeValue: got CKR_OK",
		"An object with CKA_TOKEN false is there after its session was closed.",
		"All session objects that a session made are destroyed when it is closed.", "§5.6, C_CloseSession"},
	{"tpm2-pkcs11", []string{"SES-08"}, "CreateObject: got CKR_SESSION_READ_ONLY",
		"A read-only session cannot make a session object.",
		"Only token objects are beyond a read-only session.", "§5.7, C_CreateObject"},
}
