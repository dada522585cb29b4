package rpc

// Versions of the protocol that both sides speak.
const (
	minVersion = 0
	maxVersion = 2

	// ownVersion is what our own client asks for: version 2, and all mechanisms.
	// A server of p11-kit chooses a version that it knows.
	ownVersion = 'G'
)

// handshake is what C_Initialize carries, so that nobody talks to another
// service by mistake.
const handshake = "PRIVATE-GNOME-KEYRING-PKCS11-PROTOCOL-V-1"

const headerLen = 12

// A callID is the number of a call in the protocol.
type callID uint32

const (
	callError callID = iota
	callInitialize
	callFinalize
	callGetInfo
	callGetSlotList
	callGetSlotInfo
	callGetTokenInfo
	callGetMechanismList
	callGetMechanismInfo
	callInitToken
	callOpenSession
	callCloseSession
	callCloseAllSessions
	callGetSessionInfo
	callInitPIN
	callSetPIN
	callGetOperationState
	callSetOperationState
	callLogin
	callLogout
	callCreateObject
	callCopyObject
	callDestroyObject
	callGetObjectSize
	callGetAttributeValue
	callSetAttributeValue
	callFindObjectsInit
	callFindObjects
	callFindObjectsFinal
	callEncryptInit
	callEncrypt
	callEncryptUpdate
	callEncryptFinal
	callDecryptInit
	callDecrypt
	callDecryptUpdate
	callDecryptFinal
	callDigestInit
	callDigest
	callDigestUpdate
	callDigestKey
	callDigestFinal
	callSignInit
	callSign
	callSignUpdate
	callSignFinal
	callSignRecoverInit
	callSignRecover
	callVerifyInit
	callVerify
	callVerifyUpdate
	callVerifyFinal
	callVerifyRecoverInit
	callVerifyRecover
	callDigestEncryptUpdate
	callDecryptDigestUpdate
	callSignEncryptUpdate
	callDecryptVerifyUpdate
	callGenerateKey
	callGenerateKeyPair
	callWrapKey
	callUnwrapKey
	callDeriveKey
	callSeedRandom
	callGenerateRandom
	callWaitForSlotEvent
	// PKCS #11 3.0
	callLoginUser
	callSessionCancel
	callMessageEncryptInit
	callEncryptMessage
	callEncryptMessageBegin
	callEncryptMessageNext
	callMessageEncryptFinal
	callMessageDecryptInit
	callDecryptMessage
	callDecryptMessageBegin
	callDecryptMessageNext
	callMessageDecryptFinal
	callMessageSignInit
	callSignMessage
	callSignMessageBegin
	callSignMessageNext
	callMessageSignFinal
	callMessageVerifyInit
	callVerifyMessage
	callVerifyMessageBegin
	callVerifyMessageNext
	callMessageVerifyFinal
	// Since version 1 and 2 of the protocol, respectively
	callInitToken2
	callDeriveKey2
	// PKCS #11 3.2
	callEncapsulateKey
	callDecapsulateKey
	callVerifySignatureInit
	callVerifySignature
	callVerifySignatureUpdate
	callVerifySignatureFinal
	callGetSessionValidationFlags
	callAsyncComplete
	callAsyncGetID
	callAsyncJoin
	callWrapKeyAuthenticated
	callUnwrapKeyAuthenticated

	callMax
)

// A signature tells the arguments of a call and of its answer.
//
//	y   CK_BYTE            u   CK_ULONG           v   CK_VERSION
//	s   blank-padded text  z   text               M   CK_MECHANISM
//	a_  array of _         f_  room for an array  A   CK_ATTRIBUTE
//	P   what a mechanism changed in its parameter
type signature struct{ name, request, response string }

var calls = [callMax]signature{
	callError:                     {"error", "", "u"},
	callInitialize:                {"C_Initialize", "ayyay", ""},
	callFinalize:                  {"C_Finalize", "", ""},
	callGetInfo:                   {"C_GetInfo", "", "vsusv"},
	callGetSlotList:               {"C_GetSlotList", "yfu", "au"},
	callGetSlotInfo:               {"C_GetSlotInfo", "u", "ssuvv"},
	callGetTokenInfo:              {"C_GetTokenInfo", "u", "ssssuuuuuuuuuuuvvs"},
	callGetMechanismList:          {"C_GetMechanismList", "ufu", "au"},
	callGetMechanismInfo:          {"C_GetMechanismInfo", "uu", "uuu"},
	callInitToken:                 {"C_InitToken", "uayz", ""},
	callOpenSession:               {"C_OpenSession", "uu", "u"},
	callCloseSession:              {"C_CloseSession", "u", ""},
	callCloseAllSessions:          {"C_CloseAllSessions", "u", ""},
	callGetSessionInfo:            {"C_GetSessionInfo", "u", "uuuu"},
	callInitPIN:                   {"C_InitPIN", "uay", ""},
	callSetPIN:                    {"C_SetPIN", "uayay", ""},
	callGetOperationState:         {"C_GetOperationState", "ufy", "ay"},
	callSetOperationState:         {"C_SetOperationState", "uayuu", ""},
	callLogin:                     {"C_Login", "uuay", ""},
	callLogout:                    {"C_Logout", "u", ""},
	callCreateObject:              {"C_CreateObject", "uaA", "u"},
	callCopyObject:                {"C_CopyObject", "uuaA", "u"},
	callDestroyObject:             {"C_DestroyObject", "uu", ""},
	callGetObjectSize:             {"C_GetObjectSize", "uu", "u"},
	callGetAttributeValue:         {"C_GetAttributeValue", "uufA", "aAu"},
	callSetAttributeValue:         {"C_SetAttributeValue", "uuaA", ""},
	callFindObjectsInit:           {"C_FindObjectsInit", "uaA", ""},
	callFindObjects:               {"C_FindObjects", "ufu", "au"},
	callFindObjectsFinal:          {"C_FindObjectsFinal", "u", ""},
	callEncryptInit:               {"C_EncryptInit", "uMu", ""},
	callEncrypt:                   {"C_Encrypt", "uayfy", "ay"},
	callEncryptUpdate:             {"C_EncryptUpdate", "uayfy", "ay"},
	callEncryptFinal:              {"C_EncryptFinal", "ufy", "ay"},
	callDecryptInit:               {"C_DecryptInit", "uMu", ""},
	callDecrypt:                   {"C_Decrypt", "uayfy", "ay"},
	callDecryptUpdate:             {"C_DecryptUpdate", "uayfy", "ay"},
	callDecryptFinal:              {"C_DecryptFinal", "ufy", "ay"},
	callDigestInit:                {"C_DigestInit", "uM", ""},
	callDigest:                    {"C_Digest", "uayfy", "ay"},
	callDigestUpdate:              {"C_DigestUpdate", "uay", ""},
	callDigestKey:                 {"C_DigestKey", "uu", ""},
	callDigestFinal:               {"C_DigestFinal", "ufy", "ay"},
	callSignInit:                  {"C_SignInit", "uMu", ""},
	callSign:                      {"C_Sign", "uayfy", "ay"},
	callSignUpdate:                {"C_SignUpdate", "uay", ""},
	callSignFinal:                 {"C_SignFinal", "ufy", "ay"},
	callSignRecoverInit:           {"C_SignRecoverInit", "uMu", ""},
	callSignRecover:               {"C_SignRecover", "uayfy", "ay"},
	callVerifyInit:                {"C_VerifyInit", "uMu", ""},
	callVerify:                    {"C_Verify", "uayay", ""},
	callVerifyUpdate:              {"C_VerifyUpdate", "uay", ""},
	callVerifyFinal:               {"C_VerifyFinal", "uay", ""},
	callVerifyRecoverInit:         {"C_VerifyRecoverInit", "uMu", ""},
	callVerifyRecover:             {"C_VerifyRecover", "uayfy", "ay"},
	callDigestEncryptUpdate:       {"C_DigestEncryptUpdate", "uayfy", "ay"},
	callDecryptDigestUpdate:       {"C_DecryptDigestUpdate", "uayfy", "ay"},
	callSignEncryptUpdate:         {"C_SignEncryptUpdate", "uayfy", "ay"},
	callDecryptVerifyUpdate:       {"C_DecryptVerifyUpdate", "uayfy", "ay"},
	callGenerateKey:               {"C_GenerateKey", "uMaA", "u"},
	callGenerateKeyPair:           {"C_GenerateKeyPair", "uMaAaA", "uu"},
	callWrapKey:                   {"C_WrapKey", "uMuufy", "ay"},
	callUnwrapKey:                 {"C_UnwrapKey", "uMuayaA", "u"},
	callDeriveKey:                 {"C_DeriveKey", "uMuaA", "u"},
	callSeedRandom:                {"C_SeedRandom", "uay", ""},
	callGenerateRandom:            {"C_GenerateRandom", "ufy", "ay"},
	callWaitForSlotEvent:          {"C_WaitForSlotEvent", "u", "u"},
	callLoginUser:                 {"C_LoginUser", "uuayay", ""},
	callSessionCancel:             {"C_SessionCancel", "uu", ""},
	callMessageEncryptInit:        {"C_MessageEncryptInit", "uMu", ""},
	callEncryptMessage:            {"C_EncryptMessage", "uayayayfy", "ay"},
	callEncryptMessageBegin:       {"C_EncryptMessageBegin", "uayay", ""},
	callEncryptMessageNext:        {"C_EncryptMessageNext", "uayayfyu", "ay"},
	callMessageEncryptFinal:       {"C_MessageEncryptFinal", "u", ""},
	callMessageDecryptInit:        {"C_MessageDecryptInit", "uMu", ""},
	callDecryptMessage:            {"C_DecryptMessage", "uayayayfy", "ay"},
	callDecryptMessageBegin:       {"C_DecryptMessageBegin", "uayay", ""},
	callDecryptMessageNext:        {"C_DecryptMessageNext", "uayayfyu", "ay"},
	callMessageDecryptFinal:       {"C_MessageDecryptFinal", "u", ""},
	callMessageSignInit:           {"C_MessageSignInit", "uMu", ""},
	callSignMessage:               {"C_SignMessage", "uayayfy", "ay"},
	callSignMessageBegin:          {"C_SignMessageBegin", "uay", ""},
	callSignMessageNext:           {"C_SignMessageNext", "uayayyfy", "ay"},
	callMessageSignFinal:          {"C_MessageSignFinal", "u", ""},
	callMessageVerifyInit:         {"C_MessageVerifyInit", "uMu", ""},
	callVerifyMessage:             {"C_VerifyMessage", "uayayay", ""},
	callVerifyMessageBegin:        {"C_VerifyMessageBegin", "uay", ""},
	callVerifyMessageNext:         {"C_VerifyMessageNext", "uayayay", ""},
	callMessageVerifyFinal:        {"C_MessageVerifyFinal", "u", ""},
	callInitToken2:                {"C_InitToken2", "uays", ""},
	callDeriveKey2:                {"C_DeriveKey2", "uMuaA", "uPu"},
	callEncapsulateKey:            {"C_EncapsulateKey", "uMuaAfy", "ayu"},
	callDecapsulateKey:            {"C_DecapsulateKey", "uMuaAay", "u"},
	callVerifySignatureInit:       {"C_VerifySignatureInit", "uMuay", ""},
	callVerifySignature:           {"C_VerifySignature", "uay", ""},
	callVerifySignatureUpdate:     {"C_VerifySignatureUpdate", "uay", ""},
	callVerifySignatureFinal:      {"C_VerifySignatureFinal", "u", ""},
	callGetSessionValidationFlags: {"C_GetSessionValidationFlags", "uu", "u"},
	callAsyncComplete:             {"C_AsyncComplete", "uay", "uayuu"},
	callAsyncGetID:                {"C_AsyncGetID", "uay", "u"},
	callAsyncJoin:                 {"C_AsyncJoin", "uayuay", ""},
	callWrapKeyAuthenticated:      {"C_WrapKeyAuthenticated", "uMuuayfy", "ay"},
	callUnwrapKeyAuthenticated:    {"C_UnwrapKeyAuthenticated", "uMuayayaA", "u"},
}

func (c callID) String() string {
	if c < callMax {
		return calls[c].name
	}
	return "unknown call"
}
