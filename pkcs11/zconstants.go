// Code generated from constants.txt by gen.go; DO NOT EDIT.

package pkcs11

// Error codes.
const (
	CKR_CANCEL                           Error = 0x1
	CKR_HOST_MEMORY                      Error = 0x2
	CKR_SLOT_ID_INVALID                  Error = 0x3
	CKR_GENERAL_ERROR                    Error = 0x5
	CKR_FUNCTION_FAILED                  Error = 0x6
	CKR_ARGUMENTS_BAD                    Error = 0x7
	CKR_NO_EVENT                         Error = 0x8
	CKR_NEED_TO_CREATE_THREADS           Error = 0x9
	CKR_CANT_LOCK                        Error = 0xa
	CKR_ATTRIBUTE_READ_ONLY              Error = 0x10
	CKR_ATTRIBUTE_SENSITIVE              Error = 0x11
	CKR_ATTRIBUTE_TYPE_INVALID           Error = 0x12
	CKR_ATTRIBUTE_VALUE_INVALID          Error = 0x13
	CKR_ACTION_PROHIBITED                Error = 0x1b
	CKR_DATA_INVALID                     Error = 0x20
	CKR_DATA_LEN_RANGE                   Error = 0x21
	CKR_DEVICE_ERROR                     Error = 0x30
	CKR_DEVICE_MEMORY                    Error = 0x31
	CKR_DEVICE_REMOVED                   Error = 0x32
	CKR_ENCRYPTED_DATA_INVALID           Error = 0x40
	CKR_ENCRYPTED_DATA_LEN_RANGE         Error = 0x41
	CKR_FUNCTION_CANCELED                Error = 0x50
	CKR_FUNCTION_NOT_PARALLEL            Error = 0x51
	CKR_FUNCTION_NOT_SUPPORTED           Error = 0x54
	CKR_KEY_HANDLE_INVALID               Error = 0x60
	CKR_KEY_SIZE_RANGE                   Error = 0x62
	CKR_KEY_TYPE_INCONSISTENT            Error = 0x63
	CKR_KEY_NOT_NEEDED                   Error = 0x64
	CKR_KEY_CHANGED                      Error = 0x65
	CKR_KEY_NEEDED                       Error = 0x66
	CKR_KEY_INDIGESTIBLE                 Error = 0x67
	CKR_KEY_FUNCTION_NOT_PERMITTED       Error = 0x68
	CKR_KEY_NOT_WRAPPABLE                Error = 0x69
	CKR_KEY_UNEXTRACTABLE                Error = 0x6a
	CKR_MECHANISM_INVALID                Error = 0x70
	CKR_MECHANISM_PARAM_INVALID          Error = 0x71
	CKR_OBJECT_HANDLE_INVALID            Error = 0x82
	CKR_OPERATION_ACTIVE                 Error = 0x90
	CKR_OPERATION_NOT_INITIALIZED        Error = 0x91
	CKR_PIN_INCORRECT                    Error = 0xa0
	CKR_PIN_INVALID                      Error = 0xa1
	CKR_PIN_LEN_RANGE                    Error = 0xa2
	CKR_PIN_EXPIRED                      Error = 0xa3
	CKR_PIN_LOCKED                       Error = 0xa4
	CKR_SESSION_CLOSED                   Error = 0xb0
	CKR_SESSION_COUNT                    Error = 0xb1
	CKR_SESSION_HANDLE_INVALID           Error = 0xb3
	CKR_SESSION_PARALLEL_NOT_SUPPORTED   Error = 0xb4
	CKR_SESSION_READ_ONLY                Error = 0xb5
	CKR_SESSION_EXISTS                   Error = 0xb6
	CKR_SESSION_READ_ONLY_EXISTS         Error = 0xb7
	CKR_SESSION_READ_WRITE_SO_EXISTS     Error = 0xb8
	CKR_SIGNATURE_INVALID                Error = 0xc0
	CKR_SIGNATURE_LEN_RANGE              Error = 0xc1
	CKR_TEMPLATE_INCOMPLETE              Error = 0xd0
	CKR_TEMPLATE_INCONSISTENT            Error = 0xd1
	CKR_TOKEN_NOT_PRESENT                Error = 0xe0
	CKR_TOKEN_NOT_RECOGNIZED             Error = 0xe1
	CKR_TOKEN_WRITE_PROTECTED            Error = 0xe2
	CKR_UNWRAPPING_KEY_HANDLE_INVALID    Error = 0xf0
	CKR_UNWRAPPING_KEY_SIZE_RANGE        Error = 0xf1
	CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT Error = 0xf2
	CKR_USER_ALREADY_LOGGED_IN           Error = 0x100
	CKR_USER_NOT_LOGGED_IN               Error = 0x101
	CKR_USER_PIN_NOT_INITIALIZED         Error = 0x102
	CKR_USER_TYPE_INVALID                Error = 0x103
	CKR_USER_ANOTHER_ALREADY_LOGGED_IN   Error = 0x104
	CKR_USER_TOO_MANY_TYPES              Error = 0x105
	CKR_WRAPPED_KEY_INVALID              Error = 0x110
	CKR_WRAPPED_KEY_LEN_RANGE            Error = 0x112
	CKR_WRAPPING_KEY_HANDLE_INVALID      Error = 0x113
	CKR_WRAPPING_KEY_SIZE_RANGE          Error = 0x114
	CKR_WRAPPING_KEY_TYPE_INCONSISTENT   Error = 0x115
	CKR_RANDOM_SEED_NOT_SUPPORTED        Error = 0x120
	CKR_RANDOM_NO_RNG                    Error = 0x121
	CKR_DOMAIN_PARAMS_INVALID            Error = 0x130
	CKR_CURVE_NOT_SUPPORTED              Error = 0x140
	CKR_BUFFER_TOO_SMALL                 Error = 0x150
	CKR_SAVED_STATE_INVALID              Error = 0x160
	CKR_INFORMATION_SENSITIVE            Error = 0x170
	CKR_STATE_UNSAVEABLE                 Error = 0x180
	CKR_CRYPTOKI_NOT_INITIALIZED         Error = 0x190
	CKR_CRYPTOKI_ALREADY_INITIALIZED     Error = 0x191
	CKR_MUTEX_BAD                        Error = 0x1a0
	CKR_MUTEX_NOT_LOCKED                 Error = 0x1a1
	CKR_NEW_PIN_MODE                     Error = 0x1b0
	CKR_NEXT_OTP                         Error = 0x1b1
	CKR_EXCEEDED_MAX_ITERATIONS          Error = 0x1b5
	CKR_FIPS_SELF_TEST_FAILED            Error = 0x1b6
	CKR_LIBRARY_LOAD_FAILED              Error = 0x1b7
	CKR_PIN_TOO_WEAK                     Error = 0x1b8
	CKR_PUBLIC_KEY_INVALID               Error = 0x1b9
	CKR_FUNCTION_REJECTED                Error = 0x200
	CKR_TOKEN_RESOURCE_EXCEEDED          Error = 0x201
	CKR_OPERATION_CANCEL_FAILED          Error = 0x202
	CKR_KEY_EXHAUSTED                    Error = 0x203
)

var namesCKR = []name{
	{0x1, "CKR_CANCEL"},
	{0x2, "CKR_HOST_MEMORY"},
	{0x3, "CKR_SLOT_ID_INVALID"},
	{0x5, "CKR_GENERAL_ERROR"},
	{0x6, "CKR_FUNCTION_FAILED"},
	{0x7, "CKR_ARGUMENTS_BAD"},
	{0x8, "CKR_NO_EVENT"},
	{0x9, "CKR_NEED_TO_CREATE_THREADS"},
	{0xa, "CKR_CANT_LOCK"},
	{0x10, "CKR_ATTRIBUTE_READ_ONLY"},
	{0x11, "CKR_ATTRIBUTE_SENSITIVE"},
	{0x12, "CKR_ATTRIBUTE_TYPE_INVALID"},
	{0x13, "CKR_ATTRIBUTE_VALUE_INVALID"},
	{0x1b, "CKR_ACTION_PROHIBITED"},
	{0x20, "CKR_DATA_INVALID"},
	{0x21, "CKR_DATA_LEN_RANGE"},
	{0x30, "CKR_DEVICE_ERROR"},
	{0x31, "CKR_DEVICE_MEMORY"},
	{0x32, "CKR_DEVICE_REMOVED"},
	{0x40, "CKR_ENCRYPTED_DATA_INVALID"},
	{0x41, "CKR_ENCRYPTED_DATA_LEN_RANGE"},
	{0x50, "CKR_FUNCTION_CANCELED"},
	{0x51, "CKR_FUNCTION_NOT_PARALLEL"},
	{0x54, "CKR_FUNCTION_NOT_SUPPORTED"},
	{0x60, "CKR_KEY_HANDLE_INVALID"},
	{0x62, "CKR_KEY_SIZE_RANGE"},
	{0x63, "CKR_KEY_TYPE_INCONSISTENT"},
	{0x64, "CKR_KEY_NOT_NEEDED"},
	{0x65, "CKR_KEY_CHANGED"},
	{0x66, "CKR_KEY_NEEDED"},
	{0x67, "CKR_KEY_INDIGESTIBLE"},
	{0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED"},
	{0x69, "CKR_KEY_NOT_WRAPPABLE"},
	{0x6a, "CKR_KEY_UNEXTRACTABLE"},
	{0x70, "CKR_MECHANISM_INVALID"},
	{0x71, "CKR_MECHANISM_PARAM_INVALID"},
	{0x82, "CKR_OBJECT_HANDLE_INVALID"},
	{0x90, "CKR_OPERATION_ACTIVE"},
	{0x91, "CKR_OPERATION_NOT_INITIALIZED"},
	{0xa0, "CKR_PIN_INCORRECT"},
	{0xa1, "CKR_PIN_INVALID"},
	{0xa2, "CKR_PIN_LEN_RANGE"},
	{0xa3, "CKR_PIN_EXPIRED"},
	{0xa4, "CKR_PIN_LOCKED"},
	{0xb0, "CKR_SESSION_CLOSED"},
	{0xb1, "CKR_SESSION_COUNT"},
	{0xb3, "CKR_SESSION_HANDLE_INVALID"},
	{0xb4, "CKR_SESSION_PARALLEL_NOT_SUPPORTED"},
	{0xb5, "CKR_SESSION_READ_ONLY"},
	{0xb6, "CKR_SESSION_EXISTS"},
	{0xb7, "CKR_SESSION_READ_ONLY_EXISTS"},
	{0xb8, "CKR_SESSION_READ_WRITE_SO_EXISTS"},
	{0xc0, "CKR_SIGNATURE_INVALID"},
	{0xc1, "CKR_SIGNATURE_LEN_RANGE"},
	{0xd0, "CKR_TEMPLATE_INCOMPLETE"},
	{0xd1, "CKR_TEMPLATE_INCONSISTENT"},
	{0xe0, "CKR_TOKEN_NOT_PRESENT"},
	{0xe1, "CKR_TOKEN_NOT_RECOGNIZED"},
	{0xe2, "CKR_TOKEN_WRITE_PROTECTED"},
	{0xf0, "CKR_UNWRAPPING_KEY_HANDLE_INVALID"},
	{0xf1, "CKR_UNWRAPPING_KEY_SIZE_RANGE"},
	{0xf2, "CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT"},
	{0x100, "CKR_USER_ALREADY_LOGGED_IN"},
	{0x101, "CKR_USER_NOT_LOGGED_IN"},
	{0x102, "CKR_USER_PIN_NOT_INITIALIZED"},
	{0x103, "CKR_USER_TYPE_INVALID"},
	{0x104, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"},
	{0x105, "CKR_USER_TOO_MANY_TYPES"},
	{0x110, "CKR_WRAPPED_KEY_INVALID"},
	{0x112, "CKR_WRAPPED_KEY_LEN_RANGE"},
	{0x113, "CKR_WRAPPING_KEY_HANDLE_INVALID"},
	{0x114, "CKR_WRAPPING_KEY_SIZE_RANGE"},
	{0x115, "CKR_WRAPPING_KEY_TYPE_INCONSISTENT"},
	{0x120, "CKR_RANDOM_SEED_NOT_SUPPORTED"},
	{0x121, "CKR_RANDOM_NO_RNG"},
	{0x130, "CKR_DOMAIN_PARAMS_INVALID"},
	{0x140, "CKR_CURVE_NOT_SUPPORTED"},
	{0x150, "CKR_BUFFER_TOO_SMALL"},
	{0x160, "CKR_SAVED_STATE_INVALID"},
	{0x170, "CKR_INFORMATION_SENSITIVE"},
	{0x180, "CKR_STATE_UNSAVEABLE"},
	{0x190, "CKR_CRYPTOKI_NOT_INITIALIZED"},
	{0x191, "CKR_CRYPTOKI_ALREADY_INITIALIZED"},
	{0x1a0, "CKR_MUTEX_BAD"},
	{0x1a1, "CKR_MUTEX_NOT_LOCKED"},
	{0x1b0, "CKR_NEW_PIN_MODE"},
	{0x1b1, "CKR_NEXT_OTP"},
	{0x1b5, "CKR_EXCEEDED_MAX_ITERATIONS"},
	{0x1b6, "CKR_FIPS_SELF_TEST_FAILED"},
	{0x1b7, "CKR_LIBRARY_LOAD_FAILED"},
	{0x1b8, "CKR_PIN_TOO_WEAK"},
	{0x1b9, "CKR_PUBLIC_KEY_INVALID"},
	{0x200, "CKR_FUNCTION_REJECTED"},
	{0x201, "CKR_TOKEN_RESOURCE_EXCEEDED"},
	{0x202, "CKR_OPERATION_CANCEL_FAILED"},
	{0x203, "CKR_KEY_EXHAUSTED"},
}

// Attribute types.
const (
	CKA_CLASS                      AttributeType = 0x0
	CKA_TOKEN                      AttributeType = 0x1
	CKA_PRIVATE                    AttributeType = 0x2
	CKA_LABEL                      AttributeType = 0x3
	CKA_UNIQUE_ID                  AttributeType = 0x4
	CKA_APPLICATION                AttributeType = 0x10
	CKA_VALUE                      AttributeType = 0x11
	CKA_OBJECT_ID                  AttributeType = 0x12
	CKA_CERTIFICATE_TYPE           AttributeType = 0x80
	CKA_ISSUER                     AttributeType = 0x81
	CKA_SERIAL_NUMBER              AttributeType = 0x82
	CKA_AC_ISSUER                  AttributeType = 0x83
	CKA_OWNER                      AttributeType = 0x84
	CKA_ATTR_TYPES                 AttributeType = 0x85
	CKA_TRUSTED                    AttributeType = 0x86
	CKA_CERTIFICATE_CATEGORY       AttributeType = 0x87
	CKA_JAVA_MIDP_SECURITY_DOMAIN  AttributeType = 0x88
	CKA_URL                        AttributeType = 0x89
	CKA_HASH_OF_SUBJECT_PUBLIC_KEY AttributeType = 0x8a
	CKA_HASH_OF_ISSUER_PUBLIC_KEY  AttributeType = 0x8b
	CKA_NAME_HASH_ALGORITHM        AttributeType = 0x8c
	CKA_CHECK_VALUE                AttributeType = 0x90
	CKA_KEY_TYPE                   AttributeType = 0x100
	CKA_SUBJECT                    AttributeType = 0x101
	CKA_ID                         AttributeType = 0x102
	CKA_SENSITIVE                  AttributeType = 0x103
	CKA_ENCRYPT                    AttributeType = 0x104
	CKA_DECRYPT                    AttributeType = 0x105
	CKA_WRAP                       AttributeType = 0x106
	CKA_UNWRAP                     AttributeType = 0x107
	CKA_SIGN                       AttributeType = 0x108
	CKA_SIGN_RECOVER               AttributeType = 0x109
	CKA_VERIFY                     AttributeType = 0x10a
	CKA_VERIFY_RECOVER             AttributeType = 0x10b
	CKA_DERIVE                     AttributeType = 0x10c
	CKA_START_DATE                 AttributeType = 0x110
	CKA_END_DATE                   AttributeType = 0x111
	CKA_MODULUS                    AttributeType = 0x120
	CKA_MODULUS_BITS               AttributeType = 0x121
	CKA_PUBLIC_EXPONENT            AttributeType = 0x122
	CKA_PRIVATE_EXPONENT           AttributeType = 0x123
	CKA_PRIME_1                    AttributeType = 0x124
	CKA_PRIME_2                    AttributeType = 0x125
	CKA_EXPONENT_1                 AttributeType = 0x126
	CKA_EXPONENT_2                 AttributeType = 0x127
	CKA_COEFFICIENT                AttributeType = 0x128
	CKA_PUBLIC_KEY_INFO            AttributeType = 0x129
	CKA_PRIME                      AttributeType = 0x130
	CKA_SUBPRIME                   AttributeType = 0x131
	CKA_BASE                       AttributeType = 0x132
	CKA_PRIME_BITS                 AttributeType = 0x133
	CKA_SUBPRIME_BITS              AttributeType = 0x134
	CKA_SUB_PRIME_BITS             AttributeType = 0x134
	CKA_VALUE_BITS                 AttributeType = 0x160
	CKA_VALUE_LEN                  AttributeType = 0x161
	CKA_EXTRACTABLE                AttributeType = 0x162
	CKA_LOCAL                      AttributeType = 0x163
	CKA_NEVER_EXTRACTABLE          AttributeType = 0x164
	CKA_ALWAYS_SENSITIVE           AttributeType = 0x165
	CKA_KEY_GEN_MECHANISM          AttributeType = 0x166
	CKA_MODIFIABLE                 AttributeType = 0x170
	CKA_COPYABLE                   AttributeType = 0x171
	CKA_DESTROYABLE                AttributeType = 0x172
	CKA_EC_PARAMS                  AttributeType = 0x180
	CKA_ECDSA_PARAMS               AttributeType = 0x180
	CKA_EC_POINT                   AttributeType = 0x181
	CKA_AUTH_PIN_FLAGS             AttributeType = 0x201
	CKA_ALWAYS_AUTHENTICATE        AttributeType = 0x202
	CKA_WRAP_WITH_TRUSTED          AttributeType = 0x210
	CKA_OTP_FORMAT                 AttributeType = 0x220
	CKA_OTP_LENGTH                 AttributeType = 0x221
	CKA_OTP_TIME_INTERVAL          AttributeType = 0x222
	CKA_OTP_USER_FRIENDLY_MODE     AttributeType = 0x223
	CKA_OTP_CHALLENGE_REQUIREMENT  AttributeType = 0x224
	CKA_OTP_TIME_REQUIREMENT       AttributeType = 0x225
	CKA_OTP_COUNTER_REQUIREMENT    AttributeType = 0x226
	CKA_OTP_PIN_REQUIREMENT        AttributeType = 0x227
	CKA_OTP_USER_IDENTIFIER        AttributeType = 0x22a
	CKA_OTP_SERVICE_IDENTIFIER     AttributeType = 0x22b
	CKA_OTP_SERVICE_LOGO           AttributeType = 0x22c
	CKA_OTP_SERVICE_LOGO_TYPE      AttributeType = 0x22d
	CKA_OTP_COUNTER                AttributeType = 0x22e
	CKA_OTP_TIME                   AttributeType = 0x22f
	CKA_GOSTR3410_PARAMS           AttributeType = 0x250
	CKA_GOSTR3411_PARAMS           AttributeType = 0x251
	CKA_GOST28147_PARAMS           AttributeType = 0x252
	CKA_HW_FEATURE_TYPE            AttributeType = 0x300
	CKA_RESET_ON_INIT              AttributeType = 0x301
	CKA_HAS_RESET                  AttributeType = 0x302
	CKA_PIXEL_X                    AttributeType = 0x400
	CKA_PIXEL_Y                    AttributeType = 0x401
	CKA_RESOLUTION                 AttributeType = 0x402
	CKA_CHAR_ROWS                  AttributeType = 0x403
	CKA_CHAR_COLUMNS               AttributeType = 0x404
	CKA_COLOR                      AttributeType = 0x405
	CKA_BITS_PER_PIXEL             AttributeType = 0x406
	CKA_CHAR_SETS                  AttributeType = 0x480
	CKA_ENCODING_METHODS           AttributeType = 0x481
	CKA_MIME_TYPES                 AttributeType = 0x482
	CKA_MECHANISM_TYPE             AttributeType = 0x500
	CKA_REQUIRED_CMS_ATTRIBUTES    AttributeType = 0x501
	CKA_DEFAULT_CMS_ATTRIBUTES     AttributeType = 0x502
	CKA_SUPPORTED_CMS_ATTRIBUTES   AttributeType = 0x503
	CKA_PROFILE_ID                 AttributeType = 0x601
	CKA_PARAMETER_SET              AttributeType = 0x61d
	CKA_WRAP_TEMPLATE              AttributeType = 0x40000211
	CKA_UNWRAP_TEMPLATE            AttributeType = 0x40000212
	CKA_DERIVE_TEMPLATE            AttributeType = 0x40000213
	CKA_ALLOWED_MECHANISMS         AttributeType = 0x40000600
)

var namesCKA = []name{
	{0x0, "CKA_CLASS"},
	{0x1, "CKA_TOKEN"},
	{0x2, "CKA_PRIVATE"},
	{0x3, "CKA_LABEL"},
	{0x4, "CKA_UNIQUE_ID"},
	{0x10, "CKA_APPLICATION"},
	{0x11, "CKA_VALUE"},
	{0x12, "CKA_OBJECT_ID"},
	{0x80, "CKA_CERTIFICATE_TYPE"},
	{0x81, "CKA_ISSUER"},
	{0x82, "CKA_SERIAL_NUMBER"},
	{0x83, "CKA_AC_ISSUER"},
	{0x84, "CKA_OWNER"},
	{0x85, "CKA_ATTR_TYPES"},
	{0x86, "CKA_TRUSTED"},
	{0x87, "CKA_CERTIFICATE_CATEGORY"},
	{0x88, "CKA_JAVA_MIDP_SECURITY_DOMAIN"},
	{0x89, "CKA_URL"},
	{0x8a, "CKA_HASH_OF_SUBJECT_PUBLIC_KEY"},
	{0x8b, "CKA_HASH_OF_ISSUER_PUBLIC_KEY"},
	{0x8c, "CKA_NAME_HASH_ALGORITHM"},
	{0x90, "CKA_CHECK_VALUE"},
	{0x100, "CKA_KEY_TYPE"},
	{0x101, "CKA_SUBJECT"},
	{0x102, "CKA_ID"},
	{0x103, "CKA_SENSITIVE"},
	{0x104, "CKA_ENCRYPT"},
	{0x105, "CKA_DECRYPT"},
	{0x106, "CKA_WRAP"},
	{0x107, "CKA_UNWRAP"},
	{0x108, "CKA_SIGN"},
	{0x109, "CKA_SIGN_RECOVER"},
	{0x10a, "CKA_VERIFY"},
	{0x10b, "CKA_VERIFY_RECOVER"},
	{0x10c, "CKA_DERIVE"},
	{0x110, "CKA_START_DATE"},
	{0x111, "CKA_END_DATE"},
	{0x120, "CKA_MODULUS"},
	{0x121, "CKA_MODULUS_BITS"},
	{0x122, "CKA_PUBLIC_EXPONENT"},
	{0x123, "CKA_PRIVATE_EXPONENT"},
	{0x124, "CKA_PRIME_1"},
	{0x125, "CKA_PRIME_2"},
	{0x126, "CKA_EXPONENT_1"},
	{0x127, "CKA_EXPONENT_2"},
	{0x128, "CKA_COEFFICIENT"},
	{0x129, "CKA_PUBLIC_KEY_INFO"},
	{0x130, "CKA_PRIME"},
	{0x131, "CKA_SUBPRIME"},
	{0x132, "CKA_BASE"},
	{0x133, "CKA_PRIME_BITS"},
	{0x134, "CKA_SUBPRIME_BITS"},
	{0x160, "CKA_VALUE_BITS"},
	{0x161, "CKA_VALUE_LEN"},
	{0x162, "CKA_EXTRACTABLE"},
	{0x163, "CKA_LOCAL"},
	{0x164, "CKA_NEVER_EXTRACTABLE"},
	{0x165, "CKA_ALWAYS_SENSITIVE"},
	{0x166, "CKA_KEY_GEN_MECHANISM"},
	{0x170, "CKA_MODIFIABLE"},
	{0x171, "CKA_COPYABLE"},
	{0x172, "CKA_DESTROYABLE"},
	{0x180, "CKA_EC_PARAMS"},
	{0x181, "CKA_EC_POINT"},
	{0x201, "CKA_AUTH_PIN_FLAGS"},
	{0x202, "CKA_ALWAYS_AUTHENTICATE"},
	{0x210, "CKA_WRAP_WITH_TRUSTED"},
	{0x220, "CKA_OTP_FORMAT"},
	{0x221, "CKA_OTP_LENGTH"},
	{0x222, "CKA_OTP_TIME_INTERVAL"},
	{0x223, "CKA_OTP_USER_FRIENDLY_MODE"},
	{0x224, "CKA_OTP_CHALLENGE_REQUIREMENT"},
	{0x225, "CKA_OTP_TIME_REQUIREMENT"},
	{0x226, "CKA_OTP_COUNTER_REQUIREMENT"},
	{0x227, "CKA_OTP_PIN_REQUIREMENT"},
	{0x22a, "CKA_OTP_USER_IDENTIFIER"},
	{0x22b, "CKA_OTP_SERVICE_IDENTIFIER"},
	{0x22c, "CKA_OTP_SERVICE_LOGO"},
	{0x22d, "CKA_OTP_SERVICE_LOGO_TYPE"},
	{0x22e, "CKA_OTP_COUNTER"},
	{0x22f, "CKA_OTP_TIME"},
	{0x250, "CKA_GOSTR3410_PARAMS"},
	{0x251, "CKA_GOSTR3411_PARAMS"},
	{0x252, "CKA_GOST28147_PARAMS"},
	{0x300, "CKA_HW_FEATURE_TYPE"},
	{0x301, "CKA_RESET_ON_INIT"},
	{0x302, "CKA_HAS_RESET"},
	{0x400, "CKA_PIXEL_X"},
	{0x401, "CKA_PIXEL_Y"},
	{0x402, "CKA_RESOLUTION"},
	{0x403, "CKA_CHAR_ROWS"},
	{0x404, "CKA_CHAR_COLUMNS"},
	{0x405, "CKA_COLOR"},
	{0x406, "CKA_BITS_PER_PIXEL"},
	{0x480, "CKA_CHAR_SETS"},
	{0x481, "CKA_ENCODING_METHODS"},
	{0x482, "CKA_MIME_TYPES"},
	{0x500, "CKA_MECHANISM_TYPE"},
	{0x501, "CKA_REQUIRED_CMS_ATTRIBUTES"},
	{0x502, "CKA_DEFAULT_CMS_ATTRIBUTES"},
	{0x503, "CKA_SUPPORTED_CMS_ATTRIBUTES"},
	{0x601, "CKA_PROFILE_ID"},
	{0x61d, "CKA_PARAMETER_SET"},
	{0x40000211, "CKA_WRAP_TEMPLATE"},
	{0x40000212, "CKA_UNWRAP_TEMPLATE"},
	{0x40000213, "CKA_DERIVE_TEMPLATE"},
	{0x40000600, "CKA_ALLOWED_MECHANISMS"},
}

var aliasesCKA = []name{
	{0x134, "CKA_SUB_PRIME_BITS"},
	{0x180, "CKA_ECDSA_PARAMS"},
}

// Kind tells which Go type the Value of an attribute of type t has. Types that
// this package does not know, vendor-defined ones among them, are bytes.
func (t AttributeType) Kind() Kind {
	switch t {
	case CKA_TOKEN, CKA_PRIVATE, CKA_TRUSTED, CKA_SENSITIVE, CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP, CKA_SIGN, CKA_SIGN_RECOVER, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_DERIVE, CKA_EXTRACTABLE, CKA_LOCAL, CKA_NEVER_EXTRACTABLE, CKA_ALWAYS_SENSITIVE, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE, CKA_ALWAYS_AUTHENTICATE, CKA_WRAP_WITH_TRUSTED, CKA_OTP_USER_FRIENDLY_MODE, CKA_RESET_ON_INIT, CKA_HAS_RESET, CKA_COLOR:
		return KindBool
	case CKA_CLASS, CKA_CERTIFICATE_TYPE, CKA_CERTIFICATE_CATEGORY, CKA_JAVA_MIDP_SECURITY_DOMAIN, CKA_NAME_HASH_ALGORITHM, CKA_KEY_TYPE, CKA_MODULUS_BITS, CKA_PRIME_BITS, CKA_SUBPRIME_BITS, CKA_VALUE_BITS, CKA_VALUE_LEN, CKA_KEY_GEN_MECHANISM, CKA_AUTH_PIN_FLAGS, CKA_OTP_FORMAT, CKA_OTP_LENGTH, CKA_OTP_TIME_INTERVAL, CKA_OTP_CHALLENGE_REQUIREMENT, CKA_OTP_TIME_REQUIREMENT, CKA_OTP_COUNTER_REQUIREMENT, CKA_OTP_PIN_REQUIREMENT, CKA_HW_FEATURE_TYPE, CKA_PIXEL_X, CKA_PIXEL_Y, CKA_RESOLUTION, CKA_CHAR_ROWS, CKA_CHAR_COLUMNS, CKA_BITS_PER_PIXEL, CKA_MECHANISM_TYPE, CKA_PROFILE_ID, CKA_PARAMETER_SET:
		return KindUint
	case CKA_LABEL, CKA_UNIQUE_ID, CKA_APPLICATION, CKA_URL, CKA_OTP_USER_IDENTIFIER, CKA_OTP_SERVICE_IDENTIFIER, CKA_OTP_SERVICE_LOGO_TYPE, CKA_OTP_TIME, CKA_CHAR_SETS, CKA_ENCODING_METHODS, CKA_MIME_TYPES:
		return KindText
	case CKA_START_DATE, CKA_END_DATE:
		return KindDate
	case CKA_ALLOWED_MECHANISMS:
		return KindMechanisms
	case CKA_WRAP_TEMPLATE, CKA_UNWRAP_TEMPLATE, CKA_DERIVE_TEMPLATE:
		return KindTemplate
	}
	return KindBytes
}

// Object classes.
const (
	CKO_DATA              ObjectClass = 0x0
	CKO_CERTIFICATE       ObjectClass = 0x1
	CKO_PUBLIC_KEY        ObjectClass = 0x2
	CKO_PRIVATE_KEY       ObjectClass = 0x3
	CKO_SECRET_KEY        ObjectClass = 0x4
	CKO_HW_FEATURE        ObjectClass = 0x5
	CKO_DOMAIN_PARAMETERS ObjectClass = 0x6
	CKO_MECHANISM         ObjectClass = 0x7
	CKO_OTP_KEY           ObjectClass = 0x8
	CKO_PROFILE           ObjectClass = 0x9
)

var namesCKO = []name{
	{0x0, "CKO_DATA"},
	{0x1, "CKO_CERTIFICATE"},
	{0x2, "CKO_PUBLIC_KEY"},
	{0x3, "CKO_PRIVATE_KEY"},
	{0x4, "CKO_SECRET_KEY"},
	{0x5, "CKO_HW_FEATURE"},
	{0x6, "CKO_DOMAIN_PARAMETERS"},
	{0x7, "CKO_MECHANISM"},
	{0x8, "CKO_OTP_KEY"},
	{0x9, "CKO_PROFILE"},
}

// Key types.
const (
	CKK_RSA              KeyType = 0x0
	CKK_DSA              KeyType = 0x1
	CKK_DH               KeyType = 0x2
	CKK_EC               KeyType = 0x3
	CKK_ECDSA            KeyType = 0x3
	CKK_X9_42_DH         KeyType = 0x4
	CKK_KEA              KeyType = 0x5
	CKK_GENERIC_SECRET   KeyType = 0x10
	CKK_RC2              KeyType = 0x11
	CKK_RC4              KeyType = 0x12
	CKK_DES              KeyType = 0x13
	CKK_DES2             KeyType = 0x14
	CKK_DES3             KeyType = 0x15
	CKK_CAST             KeyType = 0x16
	CKK_CAST3            KeyType = 0x17
	CKK_CAST128          KeyType = 0x18
	CKK_CAST5            KeyType = 0x18
	CKK_RC5              KeyType = 0x19
	CKK_IDEA             KeyType = 0x1a
	CKK_SKIPJACK         KeyType = 0x1b
	CKK_BATON            KeyType = 0x1c
	CKK_JUNIPER          KeyType = 0x1d
	CKK_CDMF             KeyType = 0x1e
	CKK_AES              KeyType = 0x1f
	CKK_BLOWFISH         KeyType = 0x20
	CKK_TWOFISH          KeyType = 0x21
	CKK_SECURID          KeyType = 0x22
	CKK_HOTP             KeyType = 0x23
	CKK_ACTI             KeyType = 0x24
	CKK_CAMELLIA         KeyType = 0x25
	CKK_ARIA             KeyType = 0x26
	CKK_MD5_HMAC         KeyType = 0x27
	CKK_SHA_1_HMAC       KeyType = 0x28
	CKK_RIPEMD128_HMAC   KeyType = 0x29
	CKK_RIPEMD160_HMAC   KeyType = 0x2a
	CKK_SHA256_HMAC      KeyType = 0x2b
	CKK_SHA384_HMAC      KeyType = 0x2c
	CKK_SHA512_HMAC      KeyType = 0x2d
	CKK_SHA224_HMAC      KeyType = 0x2e
	CKK_SEED             KeyType = 0x2f
	CKK_GOSTR3410        KeyType = 0x30
	CKK_GOSTR3411        KeyType = 0x31
	CKK_GOST28147        KeyType = 0x32
	CKK_AES_XTS          KeyType = 0x35
	CKK_SHA3_224_HMAC    KeyType = 0x36
	CKK_SHA3_256_HMAC    KeyType = 0x37
	CKK_SHA3_384_HMAC    KeyType = 0x38
	CKK_SHA3_512_HMAC    KeyType = 0x39
	CKK_EC_EDWARDS       KeyType = 0x40
	CKK_EC_MONTGOMERY    KeyType = 0x41
	CKK_HKDF             KeyType = 0x42
	CKK_SHA512_224_HMAC  KeyType = 0x43
	CKK_SHA512_256_HMAC  KeyType = 0x44
	CKK_SHA512_T_HMAC    KeyType = 0x45
	CKK_INVALID_KEY_TYPE KeyType = 0xffffffff
)

var namesCKK = []name{
	{0x0, "CKK_RSA"},
	{0x1, "CKK_DSA"},
	{0x2, "CKK_DH"},
	{0x3, "CKK_EC"},
	{0x4, "CKK_X9_42_DH"},
	{0x5, "CKK_KEA"},
	{0x10, "CKK_GENERIC_SECRET"},
	{0x11, "CKK_RC2"},
	{0x12, "CKK_RC4"},
	{0x13, "CKK_DES"},
	{0x14, "CKK_DES2"},
	{0x15, "CKK_DES3"},
	{0x16, "CKK_CAST"},
	{0x17, "CKK_CAST3"},
	{0x18, "CKK_CAST128"},
	{0x19, "CKK_RC5"},
	{0x1a, "CKK_IDEA"},
	{0x1b, "CKK_SKIPJACK"},
	{0x1c, "CKK_BATON"},
	{0x1d, "CKK_JUNIPER"},
	{0x1e, "CKK_CDMF"},
	{0x1f, "CKK_AES"},
	{0x20, "CKK_BLOWFISH"},
	{0x21, "CKK_TWOFISH"},
	{0x22, "CKK_SECURID"},
	{0x23, "CKK_HOTP"},
	{0x24, "CKK_ACTI"},
	{0x25, "CKK_CAMELLIA"},
	{0x26, "CKK_ARIA"},
	{0x27, "CKK_MD5_HMAC"},
	{0x28, "CKK_SHA_1_HMAC"},
	{0x29, "CKK_RIPEMD128_HMAC"},
	{0x2a, "CKK_RIPEMD160_HMAC"},
	{0x2b, "CKK_SHA256_HMAC"},
	{0x2c, "CKK_SHA384_HMAC"},
	{0x2d, "CKK_SHA512_HMAC"},
	{0x2e, "CKK_SHA224_HMAC"},
	{0x2f, "CKK_SEED"},
	{0x30, "CKK_GOSTR3410"},
	{0x31, "CKK_GOSTR3411"},
	{0x32, "CKK_GOST28147"},
	{0x35, "CKK_AES_XTS"},
	{0x36, "CKK_SHA3_224_HMAC"},
	{0x37, "CKK_SHA3_256_HMAC"},
	{0x38, "CKK_SHA3_384_HMAC"},
	{0x39, "CKK_SHA3_512_HMAC"},
	{0x40, "CKK_EC_EDWARDS"},
	{0x41, "CKK_EC_MONTGOMERY"},
	{0x42, "CKK_HKDF"},
	{0x43, "CKK_SHA512_224_HMAC"},
	{0x44, "CKK_SHA512_256_HMAC"},
	{0x45, "CKK_SHA512_T_HMAC"},
	{0xffffffff, "CKK_INVALID_KEY_TYPE"},
}

// Certificate types.
const (
	CKC_X_509           CertificateType = 0x0
	CKC_X_509_ATTR_CERT CertificateType = 0x1
	CKC_WTLS            CertificateType = 0x2
)

var namesCKC = []name{
	{0x0, "CKC_X_509"},
	{0x1, "CKC_X_509_ATTR_CERT"},
	{0x2, "CKC_WTLS"},
}

// User types.
const (
	CKU_SO               UserType = 0x0
	CKU_USER             UserType = 0x1
	CKU_CONTEXT_SPECIFIC UserType = 0x2
)

var namesCKU = []name{
	{0x0, "CKU_SO"},
	{0x1, "CKU_USER"},
	{0x2, "CKU_CONTEXT_SPECIFIC"},
}

// Session states.
const (
	CKS_RO_PUBLIC_SESSION SessionState = 0x0
	CKS_RO_USER_FUNCTIONS SessionState = 0x1
	CKS_RW_PUBLIC_SESSION SessionState = 0x2
	CKS_RW_USER_FUNCTIONS SessionState = 0x3
	CKS_RW_SO_FUNCTIONS   SessionState = 0x4
)

var namesCKS = []name{
	{0x0, "CKS_RO_PUBLIC_SESSION"},
	{0x1, "CKS_RO_USER_FUNCTIONS"},
	{0x2, "CKS_RW_PUBLIC_SESSION"},
	{0x3, "CKS_RW_USER_FUNCTIONS"},
	{0x4, "CKS_RW_SO_FUNCTIONS"},
}

// Mechanisms.
const (
	CKM_RSA_PKCS_KEY_PAIR_GEN           MechanismType = 0x0
	CKM_RSA_PKCS                        MechanismType = 0x1
	CKM_RSA_9796                        MechanismType = 0x2
	CKM_RSA_X_509                       MechanismType = 0x3
	CKM_MD2_RSA_PKCS                    MechanismType = 0x4
	CKM_MD5_RSA_PKCS                    MechanismType = 0x5
	CKM_SHA1_RSA_PKCS                   MechanismType = 0x6
	CKM_RIPEMD128_RSA_PKCS              MechanismType = 0x7
	CKM_RIPEMD160_RSA_PKCS              MechanismType = 0x8
	CKM_RSA_PKCS_OAEP                   MechanismType = 0x9
	CKM_RSA_X9_31_KEY_PAIR_GEN          MechanismType = 0xa
	CKM_RSA_X9_31                       MechanismType = 0xb
	CKM_SHA1_RSA_X9_31                  MechanismType = 0xc
	CKM_RSA_PKCS_PSS                    MechanismType = 0xd
	CKM_SHA1_RSA_PKCS_PSS               MechanismType = 0xe
	CKM_DSA_KEY_PAIR_GEN                MechanismType = 0x10
	CKM_DSA                             MechanismType = 0x11
	CKM_DSA_SHA1                        MechanismType = 0x12
	CKM_DSA_SHA224                      MechanismType = 0x13
	CKM_DSA_SHA256                      MechanismType = 0x14
	CKM_DSA_SHA384                      MechanismType = 0x15
	CKM_DSA_SHA512                      MechanismType = 0x16
	CKM_DSA_SHA3_224                    MechanismType = 0x18
	CKM_DSA_SHA3_256                    MechanismType = 0x19
	CKM_DSA_SHA3_384                    MechanismType = 0x1a
	CKM_DSA_SHA3_512                    MechanismType = 0x1b
	CKM_DH_PKCS_KEY_PAIR_GEN            MechanismType = 0x20
	CKM_DH_PKCS_DERIVE                  MechanismType = 0x21
	CKM_X9_42_DH_KEY_PAIR_GEN           MechanismType = 0x30
	CKM_X9_42_DH_DERIVE                 MechanismType = 0x31
	CKM_X9_42_DH_HYBRID_DERIVE          MechanismType = 0x32
	CKM_X9_42_MQV_DERIVE                MechanismType = 0x33
	CKM_SHA256_RSA_PKCS                 MechanismType = 0x40
	CKM_SHA384_RSA_PKCS                 MechanismType = 0x41
	CKM_SHA512_RSA_PKCS                 MechanismType = 0x42
	CKM_SHA256_RSA_PKCS_PSS             MechanismType = 0x43
	CKM_SHA384_RSA_PKCS_PSS             MechanismType = 0x44
	CKM_SHA512_RSA_PKCS_PSS             MechanismType = 0x45
	CKM_SHA224_RSA_PKCS                 MechanismType = 0x46
	CKM_SHA224_RSA_PKCS_PSS             MechanismType = 0x47
	CKM_SHA512_224                      MechanismType = 0x48
	CKM_SHA512_224_HMAC                 MechanismType = 0x49
	CKM_SHA512_224_HMAC_GENERAL         MechanismType = 0x4a
	CKM_SHA512_224_KEY_DERIVATION       MechanismType = 0x4b
	CKM_SHA512_256                      MechanismType = 0x4c
	CKM_SHA512_256_HMAC                 MechanismType = 0x4d
	CKM_SHA512_256_HMAC_GENERAL         MechanismType = 0x4e
	CKM_SHA512_256_KEY_DERIVATION       MechanismType = 0x4f
	CKM_SHA512_T                        MechanismType = 0x50
	CKM_SHA512_T_HMAC                   MechanismType = 0x51
	CKM_SHA512_T_HMAC_GENERAL           MechanismType = 0x52
	CKM_SHA512_T_KEY_DERIVATION         MechanismType = 0x53
	CKM_SHA3_256_RSA_PKCS               MechanismType = 0x60
	CKM_SHA3_384_RSA_PKCS               MechanismType = 0x61
	CKM_SHA3_512_RSA_PKCS               MechanismType = 0x62
	CKM_SHA3_256_RSA_PKCS_PSS           MechanismType = 0x63
	CKM_SHA3_384_RSA_PKCS_PSS           MechanismType = 0x64
	CKM_SHA3_512_RSA_PKCS_PSS           MechanismType = 0x65
	CKM_SHA3_224_RSA_PKCS               MechanismType = 0x66
	CKM_SHA3_224_RSA_PKCS_PSS           MechanismType = 0x67
	CKM_RC2_KEY_GEN                     MechanismType = 0x100
	CKM_RC2_ECB                         MechanismType = 0x101
	CKM_RC2_CBC                         MechanismType = 0x102
	CKM_RC2_MAC                         MechanismType = 0x103
	CKM_RC2_MAC_GENERAL                 MechanismType = 0x104
	CKM_RC2_CBC_PAD                     MechanismType = 0x105
	CKM_RC4_KEY_GEN                     MechanismType = 0x110
	CKM_RC4                             MechanismType = 0x111
	CKM_DES_KEY_GEN                     MechanismType = 0x120
	CKM_DES_ECB                         MechanismType = 0x121
	CKM_DES_CBC                         MechanismType = 0x122
	CKM_DES_MAC                         MechanismType = 0x123
	CKM_DES_MAC_GENERAL                 MechanismType = 0x124
	CKM_DES_CBC_PAD                     MechanismType = 0x125
	CKM_DES2_KEY_GEN                    MechanismType = 0x130
	CKM_DES3_KEY_GEN                    MechanismType = 0x131
	CKM_DES3_ECB                        MechanismType = 0x132
	CKM_DES3_CBC                        MechanismType = 0x133
	CKM_DES3_MAC                        MechanismType = 0x134
	CKM_DES3_MAC_GENERAL                MechanismType = 0x135
	CKM_DES3_CBC_PAD                    MechanismType = 0x136
	CKM_DES3_CMAC_GENERAL               MechanismType = 0x137
	CKM_DES3_CMAC                       MechanismType = 0x138
	CKM_CDMF_KEY_GEN                    MechanismType = 0x140
	CKM_CDMF_ECB                        MechanismType = 0x141
	CKM_CDMF_CBC                        MechanismType = 0x142
	CKM_CDMF_MAC                        MechanismType = 0x143
	CKM_CDMF_MAC_GENERAL                MechanismType = 0x144
	CKM_CDMF_CBC_PAD                    MechanismType = 0x145
	CKM_DES_OFB64                       MechanismType = 0x150
	CKM_DES_OFB8                        MechanismType = 0x151
	CKM_DES_CFB64                       MechanismType = 0x152
	CKM_DES_CFB8                        MechanismType = 0x153
	CKM_MD2                             MechanismType = 0x200
	CKM_MD2_HMAC                        MechanismType = 0x201
	CKM_MD2_HMAC_GENERAL                MechanismType = 0x202
	CKM_MD5                             MechanismType = 0x210
	CKM_MD5_HMAC                        MechanismType = 0x211
	CKM_MD5_HMAC_GENERAL                MechanismType = 0x212
	CKM_SHA_1                           MechanismType = 0x220
	CKM_SHA_1_HMAC                      MechanismType = 0x221
	CKM_SHA_1_HMAC_GENERAL              MechanismType = 0x222
	CKM_RIPEMD128                       MechanismType = 0x230
	CKM_RIPEMD128_HMAC                  MechanismType = 0x231
	CKM_RIPEMD128_HMAC_GENERAL          MechanismType = 0x232
	CKM_RIPEMD160                       MechanismType = 0x240
	CKM_RIPEMD160_HMAC                  MechanismType = 0x241
	CKM_RIPEMD160_HMAC_GENERAL          MechanismType = 0x242
	CKM_SHA256                          MechanismType = 0x250
	CKM_SHA256_HMAC                     MechanismType = 0x251
	CKM_SHA256_HMAC_GENERAL             MechanismType = 0x252
	CKM_SHA224                          MechanismType = 0x255
	CKM_SHA224_HMAC                     MechanismType = 0x256
	CKM_SHA224_HMAC_GENERAL             MechanismType = 0x257
	CKM_SHA384                          MechanismType = 0x260
	CKM_SHA384_HMAC                     MechanismType = 0x261
	CKM_SHA384_HMAC_GENERAL             MechanismType = 0x262
	CKM_SHA512                          MechanismType = 0x270
	CKM_SHA512_HMAC                     MechanismType = 0x271
	CKM_SHA512_HMAC_GENERAL             MechanismType = 0x272
	CKM_SECURID_KEY_GEN                 MechanismType = 0x280
	CKM_SECURID                         MechanismType = 0x282
	CKM_HOTP_KEY_GEN                    MechanismType = 0x290
	CKM_HOTP                            MechanismType = 0x291
	CKM_ACTI                            MechanismType = 0x2a0
	CKM_ACTI_KEY_GEN                    MechanismType = 0x2a1
	CKM_SHA3_256                        MechanismType = 0x2b0
	CKM_SHA3_256_HMAC                   MechanismType = 0x2b1
	CKM_SHA3_256_HMAC_GENERAL           MechanismType = 0x2b2
	CKM_SHA3_256_KEY_GEN                MechanismType = 0x2b3
	CKM_SHA3_224                        MechanismType = 0x2b5
	CKM_SHA3_224_HMAC                   MechanismType = 0x2b6
	CKM_SHA3_224_HMAC_GENERAL           MechanismType = 0x2b7
	CKM_SHA3_224_KEY_GEN                MechanismType = 0x2b8
	CKM_SHA3_384                        MechanismType = 0x2c0
	CKM_SHA3_384_HMAC                   MechanismType = 0x2c1
	CKM_SHA3_384_HMAC_GENERAL           MechanismType = 0x2c2
	CKM_SHA3_384_KEY_GEN                MechanismType = 0x2c3
	CKM_SHA3_512                        MechanismType = 0x2d0
	CKM_SHA3_512_HMAC                   MechanismType = 0x2d1
	CKM_SHA3_512_HMAC_GENERAL           MechanismType = 0x2d2
	CKM_SHA3_512_KEY_GEN                MechanismType = 0x2d3
	CKM_CAST_KEY_GEN                    MechanismType = 0x300
	CKM_CAST_ECB                        MechanismType = 0x301
	CKM_CAST_CBC                        MechanismType = 0x302
	CKM_CAST_MAC                        MechanismType = 0x303
	CKM_CAST_MAC_GENERAL                MechanismType = 0x304
	CKM_CAST_CBC_PAD                    MechanismType = 0x305
	CKM_CAST3_KEY_GEN                   MechanismType = 0x310
	CKM_CAST3_ECB                       MechanismType = 0x311
	CKM_CAST3_CBC                       MechanismType = 0x312
	CKM_CAST3_MAC                       MechanismType = 0x313
	CKM_CAST3_MAC_GENERAL               MechanismType = 0x314
	CKM_CAST3_CBC_PAD                   MechanismType = 0x315
	CKM_CAST128_KEY_GEN                 MechanismType = 0x320
	CKM_CAST5_KEY_GEN                   MechanismType = 0x320
	CKM_CAST128_ECB                     MechanismType = 0x321
	CKM_CAST5_ECB                       MechanismType = 0x321
	CKM_CAST128_CBC                     MechanismType = 0x322
	CKM_CAST5_CBC                       MechanismType = 0x322
	CKM_CAST128_MAC                     MechanismType = 0x323
	CKM_CAST5_MAC                       MechanismType = 0x323
	CKM_CAST128_MAC_GENERAL             MechanismType = 0x324
	CKM_CAST5_MAC_GENERAL               MechanismType = 0x324
	CKM_CAST128_CBC_PAD                 MechanismType = 0x325
	CKM_CAST5_CBC_PAD                   MechanismType = 0x325
	CKM_RC5_KEY_GEN                     MechanismType = 0x330
	CKM_RC5_ECB                         MechanismType = 0x331
	CKM_RC5_CBC                         MechanismType = 0x332
	CKM_RC5_MAC                         MechanismType = 0x333
	CKM_RC5_MAC_GENERAL                 MechanismType = 0x334
	CKM_RC5_CBC_PAD                     MechanismType = 0x335
	CKM_IDEA_KEY_GEN                    MechanismType = 0x340
	CKM_IDEA_ECB                        MechanismType = 0x341
	CKM_IDEA_CBC                        MechanismType = 0x342
	CKM_IDEA_MAC                        MechanismType = 0x343
	CKM_IDEA_MAC_GENERAL                MechanismType = 0x344
	CKM_IDEA_CBC_PAD                    MechanismType = 0x345
	CKM_GENERIC_SECRET_KEY_GEN          MechanismType = 0x350
	CKM_CONCATENATE_BASE_AND_KEY        MechanismType = 0x360
	CKM_CONCATENATE_BASE_AND_DATA       MechanismType = 0x362
	CKM_CONCATENATE_DATA_AND_BASE       MechanismType = 0x363
	CKM_XOR_BASE_AND_DATA               MechanismType = 0x364
	CKM_EXTRACT_KEY_FROM_KEY            MechanismType = 0x365
	CKM_SSL3_PRE_MASTER_KEY_GEN         MechanismType = 0x370
	CKM_SSL3_MASTER_KEY_DERIVE          MechanismType = 0x371
	CKM_SSL3_KEY_AND_MAC_DERIVE         MechanismType = 0x372
	CKM_SSL3_MASTER_KEY_DERIVE_DH       MechanismType = 0x373
	CKM_TLS_PRE_MASTER_KEY_GEN          MechanismType = 0x374
	CKM_TLS_MASTER_KEY_DERIVE           MechanismType = 0x375
	CKM_TLS_KEY_AND_MAC_DERIVE          MechanismType = 0x376
	CKM_TLS_MASTER_KEY_DERIVE_DH        MechanismType = 0x377
	CKM_TLS_PRF                         MechanismType = 0x378
	CKM_SSL3_MD5_MAC                    MechanismType = 0x380
	CKM_SSL3_SHA1_MAC                   MechanismType = 0x381
	CKM_MD5_KEY_DERIVATION              MechanismType = 0x390
	CKM_MD2_KEY_DERIVATION              MechanismType = 0x391
	CKM_SHA1_KEY_DERIVATION             MechanismType = 0x392
	CKM_SHA256_KEY_DERIVATION           MechanismType = 0x393
	CKM_SHA384_KEY_DERIVATION           MechanismType = 0x394
	CKM_SHA512_KEY_DERIVATION           MechanismType = 0x395
	CKM_SHA224_KEY_DERIVATION           MechanismType = 0x396
	CKM_SHA3_256_KEY_DERIVATION         MechanismType = 0x397
	CKM_SHA3_224_KEY_DERIVATION         MechanismType = 0x398
	CKM_SHA3_384_KEY_DERIVATION         MechanismType = 0x399
	CKM_SHA3_512_KEY_DERIVATION         MechanismType = 0x39a
	CKM_SHAKE_128_KEY_DERIVATION        MechanismType = 0x39b
	CKM_SHAKE_256_KEY_DERIVATION        MechanismType = 0x39c
	CKM_PBE_MD2_DES_CBC                 MechanismType = 0x3a0
	CKM_PBE_MD5_DES_CBC                 MechanismType = 0x3a1
	CKM_PBE_MD5_CAST_CBC                MechanismType = 0x3a2
	CKM_PBE_MD5_CAST3_CBC               MechanismType = 0x3a3
	CKM_PBE_MD5_CAST128_CBC             MechanismType = 0x3a4
	CKM_PBE_MD5_CAST5_CBC               MechanismType = 0x3a4
	CKM_PBE_SHA1_CAST128_CBC            MechanismType = 0x3a5
	CKM_PBE_SHA1_CAST5_CBC              MechanismType = 0x3a5
	CKM_PBE_SHA1_RC4_128                MechanismType = 0x3a6
	CKM_PBE_SHA1_RC4_40                 MechanismType = 0x3a7
	CKM_PBE_SHA1_DES3_EDE_CBC           MechanismType = 0x3a8
	CKM_PBE_SHA1_DES2_EDE_CBC           MechanismType = 0x3a9
	CKM_PBE_SHA1_RC2_128_CBC            MechanismType = 0x3aa
	CKM_PBE_SHA1_RC2_40_CBC             MechanismType = 0x3ab
	CKM_PKCS5_PBKD2                     MechanismType = 0x3b0
	CKM_PBA_SHA1_WITH_SHA1_HMAC         MechanismType = 0x3c0
	CKM_WTLS_PRE_MASTER_KEY_GEN         MechanismType = 0x3d0
	CKM_WTLS_MASTER_KEY_DERIVE          MechanismType = 0x3d1
	CKM_WTLS_MASTER_KEY_DERIVE_DH_ECC   MechanismType = 0x3d2
	CKM_WTLS_PRF                        MechanismType = 0x3d3
	CKM_WTLS_SERVER_KEY_AND_MAC_DERIVE  MechanismType = 0x3d4
	CKM_WTLS_CLIENT_KEY_AND_MAC_DERIVE  MechanismType = 0x3d5
	CKM_TLS10_MAC_SERVER                MechanismType = 0x3d6
	CKM_TLS10_MAC_CLIENT                MechanismType = 0x3d7
	CKM_TLS12_MAC                       MechanismType = 0x3d8
	CKM_TLS12_KDF                       MechanismType = 0x3d9
	CKM_TLS12_MASTER_KEY_DERIVE         MechanismType = 0x3e0
	CKM_TLS12_KEY_AND_MAC_DERIVE        MechanismType = 0x3e1
	CKM_TLS12_MASTER_KEY_DERIVE_DH      MechanismType = 0x3e2
	CKM_TLS12_KEY_SAFE_DERIVE           MechanismType = 0x3e3
	CKM_TLS_MAC                         MechanismType = 0x3e4
	CKM_TLS_KDF                         MechanismType = 0x3e5
	CKM_KEY_WRAP_LYNKS                  MechanismType = 0x400
	CKM_KEY_WRAP_SET_OAEP               MechanismType = 0x401
	CKM_CMS_SIG                         MechanismType = 0x500
	CKM_KIP_DERIVE                      MechanismType = 0x510
	CKM_KIP_WRAP                        MechanismType = 0x511
	CKM_KIP_MAC                         MechanismType = 0x512
	CKM_CAMELLIA_KEY_GEN                MechanismType = 0x550
	CKM_CAMELLIA_ECB                    MechanismType = 0x551
	CKM_CAMELLIA_CBC                    MechanismType = 0x552
	CKM_CAMELLIA_MAC                    MechanismType = 0x553
	CKM_CAMELLIA_MAC_GENERAL            MechanismType = 0x554
	CKM_CAMELLIA_CBC_PAD                MechanismType = 0x555
	CKM_CAMELLIA_ECB_ENCRYPT_DATA       MechanismType = 0x556
	CKM_CAMELLIA_CBC_ENCRYPT_DATA       MechanismType = 0x557
	CKM_CAMELLIA_CTR                    MechanismType = 0x558
	CKM_ARIA_KEY_GEN                    MechanismType = 0x560
	CKM_ARIA_ECB                        MechanismType = 0x561
	CKM_ARIA_CBC                        MechanismType = 0x562
	CKM_ARIA_MAC                        MechanismType = 0x563
	CKM_ARIA_MAC_GENERAL                MechanismType = 0x564
	CKM_ARIA_CBC_PAD                    MechanismType = 0x565
	CKM_ARIA_ECB_ENCRYPT_DATA           MechanismType = 0x566
	CKM_ARIA_CBC_ENCRYPT_DATA           MechanismType = 0x567
	CKM_SEED_KEY_GEN                    MechanismType = 0x650
	CKM_SEED_ECB                        MechanismType = 0x651
	CKM_SEED_CBC                        MechanismType = 0x652
	CKM_SEED_MAC                        MechanismType = 0x653
	CKM_SEED_MAC_GENERAL                MechanismType = 0x654
	CKM_SEED_CBC_PAD                    MechanismType = 0x655
	CKM_SEED_ECB_ENCRYPT_DATA           MechanismType = 0x656
	CKM_SEED_CBC_ENCRYPT_DATA           MechanismType = 0x657
	CKM_SKIPJACK_KEY_GEN                MechanismType = 0x1000
	CKM_SKIPJACK_ECB64                  MechanismType = 0x1001
	CKM_SKIPJACK_CBC64                  MechanismType = 0x1002
	CKM_SKIPJACK_OFB64                  MechanismType = 0x1003
	CKM_SKIPJACK_CFB64                  MechanismType = 0x1004
	CKM_SKIPJACK_CFB32                  MechanismType = 0x1005
	CKM_SKIPJACK_CFB16                  MechanismType = 0x1006
	CKM_SKIPJACK_CFB8                   MechanismType = 0x1007
	CKM_SKIPJACK_WRAP                   MechanismType = 0x1008
	CKM_SKIPJACK_PRIVATE_WRAP           MechanismType = 0x1009
	CKM_SKIPJACK_RELAYX                 MechanismType = 0x100a
	CKM_KEA_KEY_PAIR_GEN                MechanismType = 0x1010
	CKM_KEA_KEY_DERIVE                  MechanismType = 0x1011
	CKM_FORTEZZA_TIMESTAMP              MechanismType = 0x1020
	CKM_BATON_KEY_GEN                   MechanismType = 0x1030
	CKM_BATON_ECB128                    MechanismType = 0x1031
	CKM_BATON_ECB96                     MechanismType = 0x1032
	CKM_BATON_CBC128                    MechanismType = 0x1033
	CKM_BATON_COUNTER                   MechanismType = 0x1034
	CKM_BATON_SHUFFLE                   MechanismType = 0x1035
	CKM_BATON_WRAP                      MechanismType = 0x1036
	CKM_EC_KEY_PAIR_GEN                 MechanismType = 0x1040
	CKM_ECDSA_KEY_PAIR_GEN              MechanismType = 0x1040
	CKM_ECDSA                           MechanismType = 0x1041
	CKM_ECDSA_SHA1                      MechanismType = 0x1042
	CKM_ECDSA_SHA224                    MechanismType = 0x1043
	CKM_ECDSA_SHA256                    MechanismType = 0x1044
	CKM_ECDSA_SHA384                    MechanismType = 0x1045
	CKM_ECDSA_SHA512                    MechanismType = 0x1046
	CKM_ECDSA_SHA3_224                  MechanismType = 0x1047
	CKM_ECDSA_SHA3_256                  MechanismType = 0x1048
	CKM_ECDSA_SHA3_384                  MechanismType = 0x1049
	CKM_ECDSA_SHA3_512                  MechanismType = 0x104a
	CKM_ECDH1_DERIVE                    MechanismType = 0x1050
	CKM_ECDH1_COFACTOR_DERIVE           MechanismType = 0x1051
	CKM_ECMQV_DERIVE                    MechanismType = 0x1052
	CKM_ECDH_AES_KEY_WRAP               MechanismType = 0x1053
	CKM_RSA_AES_KEY_WRAP                MechanismType = 0x1054
	CKM_EC_EDWARDS_KEY_PAIR_GEN         MechanismType = 0x1055
	CKM_EC_MONTGOMERY_KEY_PAIR_GEN      MechanismType = 0x1056
	CKM_EDDSA                           MechanismType = 0x1057
	CKM_JUNIPER_KEY_GEN                 MechanismType = 0x1060
	CKM_JUNIPER_ECB128                  MechanismType = 0x1061
	CKM_JUNIPER_CBC128                  MechanismType = 0x1062
	CKM_JUNIPER_COUNTER                 MechanismType = 0x1063
	CKM_JUNIPER_SHUFFLE                 MechanismType = 0x1064
	CKM_JUNIPER_WRAP                    MechanismType = 0x1065
	CKM_FASTHASH                        MechanismType = 0x1070
	CKM_AES_KEY_GEN                     MechanismType = 0x1080
	CKM_AES_ECB                         MechanismType = 0x1081
	CKM_AES_CBC                         MechanismType = 0x1082
	CKM_AES_MAC                         MechanismType = 0x1083
	CKM_AES_MAC_GENERAL                 MechanismType = 0x1084
	CKM_AES_CBC_PAD                     MechanismType = 0x1085
	CKM_AES_CTR                         MechanismType = 0x1086
	CKM_AES_GCM                         MechanismType = 0x1087
	CKM_AES_CCM                         MechanismType = 0x1088
	CKM_AES_CTS                         MechanismType = 0x1089
	CKM_AES_CMAC                        MechanismType = 0x108a
	CKM_AES_CMAC_GENERAL                MechanismType = 0x108b
	CKM_AES_XCBC_MAC                    MechanismType = 0x108c
	CKM_AES_XCBC_MAC_96                 MechanismType = 0x108d
	CKM_AES_GMAC                        MechanismType = 0x108e
	CKM_BLOWFISH_KEY_GEN                MechanismType = 0x1090
	CKM_BLOWFISH_CBC                    MechanismType = 0x1091
	CKM_TWOFISH_KEY_GEN                 MechanismType = 0x1092
	CKM_TWOFISH_CBC                     MechanismType = 0x1093
	CKM_BLOWFISH_CBC_PAD                MechanismType = 0x1094
	CKM_TWOFISH_CBC_PAD                 MechanismType = 0x1095
	CKM_DES_ECB_ENCRYPT_DATA            MechanismType = 0x1100
	CKM_DES_CBC_ENCRYPT_DATA            MechanismType = 0x1101
	CKM_DES3_ECB_ENCRYPT_DATA           MechanismType = 0x1102
	CKM_DES3_CBC_ENCRYPT_DATA           MechanismType = 0x1103
	CKM_AES_ECB_ENCRYPT_DATA            MechanismType = 0x1104
	CKM_AES_CBC_ENCRYPT_DATA            MechanismType = 0x1105
	CKM_GOSTR3410_KEY_PAIR_GEN          MechanismType = 0x1200
	CKM_GOSTR3410                       MechanismType = 0x1201
	CKM_GOSTR3410_WITH_GOSTR3411        MechanismType = 0x1202
	CKM_GOSTR3410_KEY_WRAP              MechanismType = 0x1203
	CKM_GOSTR3410_DERIVE                MechanismType = 0x1204
	CKM_GOSTR3411                       MechanismType = 0x1210
	CKM_GOSTR3411_HMAC                  MechanismType = 0x1211
	CKM_GOST28147_KEY_GEN               MechanismType = 0x1220
	CKM_GOST28147_ECB                   MechanismType = 0x1221
	CKM_GOST28147                       MechanismType = 0x1222
	CKM_GOST28147_MAC                   MechanismType = 0x1223
	CKM_GOST28147_KEY_WRAP              MechanismType = 0x1224
	CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS    MechanismType = 0x140b
	CKM_DSA_PARAMETER_GEN               MechanismType = 0x2000
	CKM_DH_PKCS_PARAMETER_GEN           MechanismType = 0x2001
	CKM_X9_42_DH_PARAMETER_GEN          MechanismType = 0x2002
	CKM_DSA_PROBABILISTIC_PARAMETER_GEN MechanismType = 0x2003
	CKM_DSA_PROBABLISTIC_PARAMETER_GEN  MechanismType = 0x2003
	CKM_DSA_SHAWE_TAYLOR_PARAMETER_GEN  MechanismType = 0x2004
	CKM_DSA_FIPS_G_GEN                  MechanismType = 0x2005
	CKM_AES_OFB                         MechanismType = 0x2104
	CKM_AES_CFB64                       MechanismType = 0x2105
	CKM_AES_CFB8                        MechanismType = 0x2106
	CKM_AES_CFB128                      MechanismType = 0x2107
	CKM_AES_CFB1                        MechanismType = 0x2108
	CKM_AES_KEY_WRAP                    MechanismType = 0x2109
	CKM_AES_KEY_WRAP_PAD                MechanismType = 0x210a
	CKM_AES_KEY_WRAP_KWP                MechanismType = 0x210b
	CKM_AES_KEY_WRAP_PKCS7              MechanismType = 0x210c
	CKM_RSA_PKCS_TPM_1_1                MechanismType = 0x4001
	CKM_RSA_PKCS_OAEP_TPM_1_1           MechanismType = 0x4002
	CKM_SHA_1_KEY_GEN                   MechanismType = 0x4003
	CKM_SHA224_KEY_GEN                  MechanismType = 0x4004
	CKM_SHA256_KEY_GEN                  MechanismType = 0x4005
	CKM_SHA384_KEY_GEN                  MechanismType = 0x4006
	CKM_SHA512_KEY_GEN                  MechanismType = 0x4007
	CKM_SHA512_224_KEY_GEN              MechanismType = 0x4008
	CKM_SHA512_256_KEY_GEN              MechanismType = 0x4009
	CKM_SHA512_T_KEY_GEN                MechanismType = 0x400a
	CKM_NULL                            MechanismType = 0x400b
	CKM_HKDF_DERIVE                     MechanismType = 0x402a
	CKM_HKDF_DATA                       MechanismType = 0x402b
	CKM_HKDF_KEY_GEN                    MechanismType = 0x402c
)

var namesCKM = []name{
	{0x0, "CKM_RSA_PKCS_KEY_PAIR_GEN"},
	{0x1, "CKM_RSA_PKCS"},
	{0x2, "CKM_RSA_9796"},
	{0x3, "CKM_RSA_X_509"},
	{0x4, "CKM_MD2_RSA_PKCS"},
	{0x5, "CKM_MD5_RSA_PKCS"},
	{0x6, "CKM_SHA1_RSA_PKCS"},
	{0x7, "CKM_RIPEMD128_RSA_PKCS"},
	{0x8, "CKM_RIPEMD160_RSA_PKCS"},
	{0x9, "CKM_RSA_PKCS_OAEP"},
	{0xa, "CKM_RSA_X9_31_KEY_PAIR_GEN"},
	{0xb, "CKM_RSA_X9_31"},
	{0xc, "CKM_SHA1_RSA_X9_31"},
	{0xd, "CKM_RSA_PKCS_PSS"},
	{0xe, "CKM_SHA1_RSA_PKCS_PSS"},
	{0x10, "CKM_DSA_KEY_PAIR_GEN"},
	{0x11, "CKM_DSA"},
	{0x12, "CKM_DSA_SHA1"},
	{0x13, "CKM_DSA_SHA224"},
	{0x14, "CKM_DSA_SHA256"},
	{0x15, "CKM_DSA_SHA384"},
	{0x16, "CKM_DSA_SHA512"},
	{0x18, "CKM_DSA_SHA3_224"},
	{0x19, "CKM_DSA_SHA3_256"},
	{0x1a, "CKM_DSA_SHA3_384"},
	{0x1b, "CKM_DSA_SHA3_512"},
	{0x20, "CKM_DH_PKCS_KEY_PAIR_GEN"},
	{0x21, "CKM_DH_PKCS_DERIVE"},
	{0x30, "CKM_X9_42_DH_KEY_PAIR_GEN"},
	{0x31, "CKM_X9_42_DH_DERIVE"},
	{0x32, "CKM_X9_42_DH_HYBRID_DERIVE"},
	{0x33, "CKM_X9_42_MQV_DERIVE"},
	{0x40, "CKM_SHA256_RSA_PKCS"},
	{0x41, "CKM_SHA384_RSA_PKCS"},
	{0x42, "CKM_SHA512_RSA_PKCS"},
	{0x43, "CKM_SHA256_RSA_PKCS_PSS"},
	{0x44, "CKM_SHA384_RSA_PKCS_PSS"},
	{0x45, "CKM_SHA512_RSA_PKCS_PSS"},
	{0x46, "CKM_SHA224_RSA_PKCS"},
	{0x47, "CKM_SHA224_RSA_PKCS_PSS"},
	{0x48, "CKM_SHA512_224"},
	{0x49, "CKM_SHA512_224_HMAC"},
	{0x4a, "CKM_SHA512_224_HMAC_GENERAL"},
	{0x4b, "CKM_SHA512_224_KEY_DERIVATION"},
	{0x4c, "CKM_SHA512_256"},
	{0x4d, "CKM_SHA512_256_HMAC"},
	{0x4e, "CKM_SHA512_256_HMAC_GENERAL"},
	{0x4f, "CKM_SHA512_256_KEY_DERIVATION"},
	{0x50, "CKM_SHA512_T"},
	{0x51, "CKM_SHA512_T_HMAC"},
	{0x52, "CKM_SHA512_T_HMAC_GENERAL"},
	{0x53, "CKM_SHA512_T_KEY_DERIVATION"},
	{0x60, "CKM_SHA3_256_RSA_PKCS"},
	{0x61, "CKM_SHA3_384_RSA_PKCS"},
	{0x62, "CKM_SHA3_512_RSA_PKCS"},
	{0x63, "CKM_SHA3_256_RSA_PKCS_PSS"},
	{0x64, "CKM_SHA3_384_RSA_PKCS_PSS"},
	{0x65, "CKM_SHA3_512_RSA_PKCS_PSS"},
	{0x66, "CKM_SHA3_224_RSA_PKCS"},
	{0x67, "CKM_SHA3_224_RSA_PKCS_PSS"},
	{0x100, "CKM_RC2_KEY_GEN"},
	{0x101, "CKM_RC2_ECB"},
	{0x102, "CKM_RC2_CBC"},
	{0x103, "CKM_RC2_MAC"},
	{0x104, "CKM_RC2_MAC_GENERAL"},
	{0x105, "CKM_RC2_CBC_PAD"},
	{0x110, "CKM_RC4_KEY_GEN"},
	{0x111, "CKM_RC4"},
	{0x120, "CKM_DES_KEY_GEN"},
	{0x121, "CKM_DES_ECB"},
	{0x122, "CKM_DES_CBC"},
	{0x123, "CKM_DES_MAC"},
	{0x124, "CKM_DES_MAC_GENERAL"},
	{0x125, "CKM_DES_CBC_PAD"},
	{0x130, "CKM_DES2_KEY_GEN"},
	{0x131, "CKM_DES3_KEY_GEN"},
	{0x132, "CKM_DES3_ECB"},
	{0x133, "CKM_DES3_CBC"},
	{0x134, "CKM_DES3_MAC"},
	{0x135, "CKM_DES3_MAC_GENERAL"},
	{0x136, "CKM_DES3_CBC_PAD"},
	{0x137, "CKM_DES3_CMAC_GENERAL"},
	{0x138, "CKM_DES3_CMAC"},
	{0x140, "CKM_CDMF_KEY_GEN"},
	{0x141, "CKM_CDMF_ECB"},
	{0x142, "CKM_CDMF_CBC"},
	{0x143, "CKM_CDMF_MAC"},
	{0x144, "CKM_CDMF_MAC_GENERAL"},
	{0x145, "CKM_CDMF_CBC_PAD"},
	{0x150, "CKM_DES_OFB64"},
	{0x151, "CKM_DES_OFB8"},
	{0x152, "CKM_DES_CFB64"},
	{0x153, "CKM_DES_CFB8"},
	{0x200, "CKM_MD2"},
	{0x201, "CKM_MD2_HMAC"},
	{0x202, "CKM_MD2_HMAC_GENERAL"},
	{0x210, "CKM_MD5"},
	{0x211, "CKM_MD5_HMAC"},
	{0x212, "CKM_MD5_HMAC_GENERAL"},
	{0x220, "CKM_SHA_1"},
	{0x221, "CKM_SHA_1_HMAC"},
	{0x222, "CKM_SHA_1_HMAC_GENERAL"},
	{0x230, "CKM_RIPEMD128"},
	{0x231, "CKM_RIPEMD128_HMAC"},
	{0x232, "CKM_RIPEMD128_HMAC_GENERAL"},
	{0x240, "CKM_RIPEMD160"},
	{0x241, "CKM_RIPEMD160_HMAC"},
	{0x242, "CKM_RIPEMD160_HMAC_GENERAL"},
	{0x250, "CKM_SHA256"},
	{0x251, "CKM_SHA256_HMAC"},
	{0x252, "CKM_SHA256_HMAC_GENERAL"},
	{0x255, "CKM_SHA224"},
	{0x256, "CKM_SHA224_HMAC"},
	{0x257, "CKM_SHA224_HMAC_GENERAL"},
	{0x260, "CKM_SHA384"},
	{0x261, "CKM_SHA384_HMAC"},
	{0x262, "CKM_SHA384_HMAC_GENERAL"},
	{0x270, "CKM_SHA512"},
	{0x271, "CKM_SHA512_HMAC"},
	{0x272, "CKM_SHA512_HMAC_GENERAL"},
	{0x280, "CKM_SECURID_KEY_GEN"},
	{0x282, "CKM_SECURID"},
	{0x290, "CKM_HOTP_KEY_GEN"},
	{0x291, "CKM_HOTP"},
	{0x2a0, "CKM_ACTI"},
	{0x2a1, "CKM_ACTI_KEY_GEN"},
	{0x2b0, "CKM_SHA3_256"},
	{0x2b1, "CKM_SHA3_256_HMAC"},
	{0x2b2, "CKM_SHA3_256_HMAC_GENERAL"},
	{0x2b3, "CKM_SHA3_256_KEY_GEN"},
	{0x2b5, "CKM_SHA3_224"},
	{0x2b6, "CKM_SHA3_224_HMAC"},
	{0x2b7, "CKM_SHA3_224_HMAC_GENERAL"},
	{0x2b8, "CKM_SHA3_224_KEY_GEN"},
	{0x2c0, "CKM_SHA3_384"},
	{0x2c1, "CKM_SHA3_384_HMAC"},
	{0x2c2, "CKM_SHA3_384_HMAC_GENERAL"},
	{0x2c3, "CKM_SHA3_384_KEY_GEN"},
	{0x2d0, "CKM_SHA3_512"},
	{0x2d1, "CKM_SHA3_512_HMAC"},
	{0x2d2, "CKM_SHA3_512_HMAC_GENERAL"},
	{0x2d3, "CKM_SHA3_512_KEY_GEN"},
	{0x300, "CKM_CAST_KEY_GEN"},
	{0x301, "CKM_CAST_ECB"},
	{0x302, "CKM_CAST_CBC"},
	{0x303, "CKM_CAST_MAC"},
	{0x304, "CKM_CAST_MAC_GENERAL"},
	{0x305, "CKM_CAST_CBC_PAD"},
	{0x310, "CKM_CAST3_KEY_GEN"},
	{0x311, "CKM_CAST3_ECB"},
	{0x312, "CKM_CAST3_CBC"},
	{0x313, "CKM_CAST3_MAC"},
	{0x314, "CKM_CAST3_MAC_GENERAL"},
	{0x315, "CKM_CAST3_CBC_PAD"},
	{0x320, "CKM_CAST128_KEY_GEN"},
	{0x321, "CKM_CAST128_ECB"},
	{0x322, "CKM_CAST128_CBC"},
	{0x323, "CKM_CAST128_MAC"},
	{0x324, "CKM_CAST128_MAC_GENERAL"},
	{0x325, "CKM_CAST128_CBC_PAD"},
	{0x330, "CKM_RC5_KEY_GEN"},
	{0x331, "CKM_RC5_ECB"},
	{0x332, "CKM_RC5_CBC"},
	{0x333, "CKM_RC5_MAC"},
	{0x334, "CKM_RC5_MAC_GENERAL"},
	{0x335, "CKM_RC5_CBC_PAD"},
	{0x340, "CKM_IDEA_KEY_GEN"},
	{0x341, "CKM_IDEA_ECB"},
	{0x342, "CKM_IDEA_CBC"},
	{0x343, "CKM_IDEA_MAC"},
	{0x344, "CKM_IDEA_MAC_GENERAL"},
	{0x345, "CKM_IDEA_CBC_PAD"},
	{0x350, "CKM_GENERIC_SECRET_KEY_GEN"},
	{0x360, "CKM_CONCATENATE_BASE_AND_KEY"},
	{0x362, "CKM_CONCATENATE_BASE_AND_DATA"},
	{0x363, "CKM_CONCATENATE_DATA_AND_BASE"},
	{0x364, "CKM_XOR_BASE_AND_DATA"},
	{0x365, "CKM_EXTRACT_KEY_FROM_KEY"},
	{0x370, "CKM_SSL3_PRE_MASTER_KEY_GEN"},
	{0x371, "CKM_SSL3_MASTER_KEY_DERIVE"},
	{0x372, "CKM_SSL3_KEY_AND_MAC_DERIVE"},
	{0x373, "CKM_SSL3_MASTER_KEY_DERIVE_DH"},
	{0x374, "CKM_TLS_PRE_MASTER_KEY_GEN"},
	{0x375, "CKM_TLS_MASTER_KEY_DERIVE"},
	{0x376, "CKM_TLS_KEY_AND_MAC_DERIVE"},
	{0x377, "CKM_TLS_MASTER_KEY_DERIVE_DH"},
	{0x378, "CKM_TLS_PRF"},
	{0x380, "CKM_SSL3_MD5_MAC"},
	{0x381, "CKM_SSL3_SHA1_MAC"},
	{0x390, "CKM_MD5_KEY_DERIVATION"},
	{0x391, "CKM_MD2_KEY_DERIVATION"},
	{0x392, "CKM_SHA1_KEY_DERIVATION"},
	{0x393, "CKM_SHA256_KEY_DERIVATION"},
	{0x394, "CKM_SHA384_KEY_DERIVATION"},
	{0x395, "CKM_SHA512_KEY_DERIVATION"},
	{0x396, "CKM_SHA224_KEY_DERIVATION"},
	{0x397, "CKM_SHA3_256_KEY_DERIVATION"},
	{0x398, "CKM_SHA3_224_KEY_DERIVATION"},
	{0x399, "CKM_SHA3_384_KEY_DERIVATION"},
	{0x39a, "CKM_SHA3_512_KEY_DERIVATION"},
	{0x39b, "CKM_SHAKE_128_KEY_DERIVATION"},
	{0x39c, "CKM_SHAKE_256_KEY_DERIVATION"},
	{0x3a0, "CKM_PBE_MD2_DES_CBC"},
	{0x3a1, "CKM_PBE_MD5_DES_CBC"},
	{0x3a2, "CKM_PBE_MD5_CAST_CBC"},
	{0x3a3, "CKM_PBE_MD5_CAST3_CBC"},
	{0x3a4, "CKM_PBE_MD5_CAST128_CBC"},
	{0x3a5, "CKM_PBE_SHA1_CAST128_CBC"},
	{0x3a6, "CKM_PBE_SHA1_RC4_128"},
	{0x3a7, "CKM_PBE_SHA1_RC4_40"},
	{0x3a8, "CKM_PBE_SHA1_DES3_EDE_CBC"},
	{0x3a9, "CKM_PBE_SHA1_DES2_EDE_CBC"},
	{0x3aa, "CKM_PBE_SHA1_RC2_128_CBC"},
	{0x3ab, "CKM_PBE_SHA1_RC2_40_CBC"},
	{0x3b0, "CKM_PKCS5_PBKD2"},
	{0x3c0, "CKM_PBA_SHA1_WITH_SHA1_HMAC"},
	{0x3d0, "CKM_WTLS_PRE_MASTER_KEY_GEN"},
	{0x3d1, "CKM_WTLS_MASTER_KEY_DERIVE"},
	{0x3d2, "CKM_WTLS_MASTER_KEY_DERIVE_DH_ECC"},
	{0x3d3, "CKM_WTLS_PRF"},
	{0x3d4, "CKM_WTLS_SERVER_KEY_AND_MAC_DERIVE"},
	{0x3d5, "CKM_WTLS_CLIENT_KEY_AND_MAC_DERIVE"},
	{0x3d6, "CKM_TLS10_MAC_SERVER"},
	{0x3d7, "CKM_TLS10_MAC_CLIENT"},
	{0x3d8, "CKM_TLS12_MAC"},
	{0x3d9, "CKM_TLS12_KDF"},
	{0x3e0, "CKM_TLS12_MASTER_KEY_DERIVE"},
	{0x3e1, "CKM_TLS12_KEY_AND_MAC_DERIVE"},
	{0x3e2, "CKM_TLS12_MASTER_KEY_DERIVE_DH"},
	{0x3e3, "CKM_TLS12_KEY_SAFE_DERIVE"},
	{0x3e4, "CKM_TLS_MAC"},
	{0x3e5, "CKM_TLS_KDF"},
	{0x400, "CKM_KEY_WRAP_LYNKS"},
	{0x401, "CKM_KEY_WRAP_SET_OAEP"},
	{0x500, "CKM_CMS_SIG"},
	{0x510, "CKM_KIP_DERIVE"},
	{0x511, "CKM_KIP_WRAP"},
	{0x512, "CKM_KIP_MAC"},
	{0x550, "CKM_CAMELLIA_KEY_GEN"},
	{0x551, "CKM_CAMELLIA_ECB"},
	{0x552, "CKM_CAMELLIA_CBC"},
	{0x553, "CKM_CAMELLIA_MAC"},
	{0x554, "CKM_CAMELLIA_MAC_GENERAL"},
	{0x555, "CKM_CAMELLIA_CBC_PAD"},
	{0x556, "CKM_CAMELLIA_ECB_ENCRYPT_DATA"},
	{0x557, "CKM_CAMELLIA_CBC_ENCRYPT_DATA"},
	{0x558, "CKM_CAMELLIA_CTR"},
	{0x560, "CKM_ARIA_KEY_GEN"},
	{0x561, "CKM_ARIA_ECB"},
	{0x562, "CKM_ARIA_CBC"},
	{0x563, "CKM_ARIA_MAC"},
	{0x564, "CKM_ARIA_MAC_GENERAL"},
	{0x565, "CKM_ARIA_CBC_PAD"},
	{0x566, "CKM_ARIA_ECB_ENCRYPT_DATA"},
	{0x567, "CKM_ARIA_CBC_ENCRYPT_DATA"},
	{0x650, "CKM_SEED_KEY_GEN"},
	{0x651, "CKM_SEED_ECB"},
	{0x652, "CKM_SEED_CBC"},
	{0x653, "CKM_SEED_MAC"},
	{0x654, "CKM_SEED_MAC_GENERAL"},
	{0x655, "CKM_SEED_CBC_PAD"},
	{0x656, "CKM_SEED_ECB_ENCRYPT_DATA"},
	{0x657, "CKM_SEED_CBC_ENCRYPT_DATA"},
	{0x1000, "CKM_SKIPJACK_KEY_GEN"},
	{0x1001, "CKM_SKIPJACK_ECB64"},
	{0x1002, "CKM_SKIPJACK_CBC64"},
	{0x1003, "CKM_SKIPJACK_OFB64"},
	{0x1004, "CKM_SKIPJACK_CFB64"},
	{0x1005, "CKM_SKIPJACK_CFB32"},
	{0x1006, "CKM_SKIPJACK_CFB16"},
	{0x1007, "CKM_SKIPJACK_CFB8"},
	{0x1008, "CKM_SKIPJACK_WRAP"},
	{0x1009, "CKM_SKIPJACK_PRIVATE_WRAP"},
	{0x100a, "CKM_SKIPJACK_RELAYX"},
	{0x1010, "CKM_KEA_KEY_PAIR_GEN"},
	{0x1011, "CKM_KEA_KEY_DERIVE"},
	{0x1020, "CKM_FORTEZZA_TIMESTAMP"},
	{0x1030, "CKM_BATON_KEY_GEN"},
	{0x1031, "CKM_BATON_ECB128"},
	{0x1032, "CKM_BATON_ECB96"},
	{0x1033, "CKM_BATON_CBC128"},
	{0x1034, "CKM_BATON_COUNTER"},
	{0x1035, "CKM_BATON_SHUFFLE"},
	{0x1036, "CKM_BATON_WRAP"},
	{0x1040, "CKM_EC_KEY_PAIR_GEN"},
	{0x1041, "CKM_ECDSA"},
	{0x1042, "CKM_ECDSA_SHA1"},
	{0x1043, "CKM_ECDSA_SHA224"},
	{0x1044, "CKM_ECDSA_SHA256"},
	{0x1045, "CKM_ECDSA_SHA384"},
	{0x1046, "CKM_ECDSA_SHA512"},
	{0x1047, "CKM_ECDSA_SHA3_224"},
	{0x1048, "CKM_ECDSA_SHA3_256"},
	{0x1049, "CKM_ECDSA_SHA3_384"},
	{0x104a, "CKM_ECDSA_SHA3_512"},
	{0x1050, "CKM_ECDH1_DERIVE"},
	{0x1051, "CKM_ECDH1_COFACTOR_DERIVE"},
	{0x1052, "CKM_ECMQV_DERIVE"},
	{0x1053, "CKM_ECDH_AES_KEY_WRAP"},
	{0x1054, "CKM_RSA_AES_KEY_WRAP"},
	{0x1055, "CKM_EC_EDWARDS_KEY_PAIR_GEN"},
	{0x1056, "CKM_EC_MONTGOMERY_KEY_PAIR_GEN"},
	{0x1057, "CKM_EDDSA"},
	{0x1060, "CKM_JUNIPER_KEY_GEN"},
	{0x1061, "CKM_JUNIPER_ECB128"},
	{0x1062, "CKM_JUNIPER_CBC128"},
	{0x1063, "CKM_JUNIPER_COUNTER"},
	{0x1064, "CKM_JUNIPER_SHUFFLE"},
	{0x1065, "CKM_JUNIPER_WRAP"},
	{0x1070, "CKM_FASTHASH"},
	{0x1080, "CKM_AES_KEY_GEN"},
	{0x1081, "CKM_AES_ECB"},
	{0x1082, "CKM_AES_CBC"},
	{0x1083, "CKM_AES_MAC"},
	{0x1084, "CKM_AES_MAC_GENERAL"},
	{0x1085, "CKM_AES_CBC_PAD"},
	{0x1086, "CKM_AES_CTR"},
	{0x1087, "CKM_AES_GCM"},
	{0x1088, "CKM_AES_CCM"},
	{0x1089, "CKM_AES_CTS"},
	{0x108a, "CKM_AES_CMAC"},
	{0x108b, "CKM_AES_CMAC_GENERAL"},
	{0x108c, "CKM_AES_XCBC_MAC"},
	{0x108d, "CKM_AES_XCBC_MAC_96"},
	{0x108e, "CKM_AES_GMAC"},
	{0x1090, "CKM_BLOWFISH_KEY_GEN"},
	{0x1091, "CKM_BLOWFISH_CBC"},
	{0x1092, "CKM_TWOFISH_KEY_GEN"},
	{0x1093, "CKM_TWOFISH_CBC"},
	{0x1094, "CKM_BLOWFISH_CBC_PAD"},
	{0x1095, "CKM_TWOFISH_CBC_PAD"},
	{0x1100, "CKM_DES_ECB_ENCRYPT_DATA"},
	{0x1101, "CKM_DES_CBC_ENCRYPT_DATA"},
	{0x1102, "CKM_DES3_ECB_ENCRYPT_DATA"},
	{0x1103, "CKM_DES3_CBC_ENCRYPT_DATA"},
	{0x1104, "CKM_AES_ECB_ENCRYPT_DATA"},
	{0x1105, "CKM_AES_CBC_ENCRYPT_DATA"},
	{0x1200, "CKM_GOSTR3410_KEY_PAIR_GEN"},
	{0x1201, "CKM_GOSTR3410"},
	{0x1202, "CKM_GOSTR3410_WITH_GOSTR3411"},
	{0x1203, "CKM_GOSTR3410_KEY_WRAP"},
	{0x1204, "CKM_GOSTR3410_DERIVE"},
	{0x1210, "CKM_GOSTR3411"},
	{0x1211, "CKM_GOSTR3411_HMAC"},
	{0x1220, "CKM_GOST28147_KEY_GEN"},
	{0x1221, "CKM_GOST28147_ECB"},
	{0x1222, "CKM_GOST28147"},
	{0x1223, "CKM_GOST28147_MAC"},
	{0x1224, "CKM_GOST28147_KEY_WRAP"},
	{0x140b, "CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS"},
	{0x2000, "CKM_DSA_PARAMETER_GEN"},
	{0x2001, "CKM_DH_PKCS_PARAMETER_GEN"},
	{0x2002, "CKM_X9_42_DH_PARAMETER_GEN"},
	{0x2003, "CKM_DSA_PROBABILISTIC_PARAMETER_GEN"},
	{0x2004, "CKM_DSA_SHAWE_TAYLOR_PARAMETER_GEN"},
	{0x2005, "CKM_DSA_FIPS_G_GEN"},
	{0x2104, "CKM_AES_OFB"},
	{0x2105, "CKM_AES_CFB64"},
	{0x2106, "CKM_AES_CFB8"},
	{0x2107, "CKM_AES_CFB128"},
	{0x2108, "CKM_AES_CFB1"},
	{0x2109, "CKM_AES_KEY_WRAP"},
	{0x210a, "CKM_AES_KEY_WRAP_PAD"},
	{0x210b, "CKM_AES_KEY_WRAP_KWP"},
	{0x210c, "CKM_AES_KEY_WRAP_PKCS7"},
	{0x4001, "CKM_RSA_PKCS_TPM_1_1"},
	{0x4002, "CKM_RSA_PKCS_OAEP_TPM_1_1"},
	{0x4003, "CKM_SHA_1_KEY_GEN"},
	{0x4004, "CKM_SHA224_KEY_GEN"},
	{0x4005, "CKM_SHA256_KEY_GEN"},
	{0x4006, "CKM_SHA384_KEY_GEN"},
	{0x4007, "CKM_SHA512_KEY_GEN"},
	{0x4008, "CKM_SHA512_224_KEY_GEN"},
	{0x4009, "CKM_SHA512_256_KEY_GEN"},
	{0x400a, "CKM_SHA512_T_KEY_GEN"},
	{0x400b, "CKM_NULL"},
	{0x402a, "CKM_HKDF_DERIVE"},
	{0x402b, "CKM_HKDF_DATA"},
	{0x402c, "CKM_HKDF_KEY_GEN"},
}

var aliasesCKM = []name{
	{0x320, "CKM_CAST5_KEY_GEN"},
	{0x321, "CKM_CAST5_ECB"},
	{0x322, "CKM_CAST5_CBC"},
	{0x323, "CKM_CAST5_MAC"},
	{0x324, "CKM_CAST5_MAC_GENERAL"},
	{0x325, "CKM_CAST5_CBC_PAD"},
	{0x3a4, "CKM_PBE_MD5_CAST5_CBC"},
	{0x3a5, "CKM_PBE_SHA1_CAST5_CBC"},
	{0x1040, "CKM_ECDSA_KEY_PAIR_GEN"},
	{0x2003, "CKM_DSA_PROBABLISTIC_PARAMETER_GEN"},
}

// Mask generation functions.
const (
	CKG_MGF1_SHA1     MGFType = 0x1
	CKG_MGF1_SHA256   MGFType = 0x2
	CKG_MGF1_SHA384   MGFType = 0x3
	CKG_MGF1_SHA512   MGFType = 0x4
	CKG_MGF1_SHA224   MGFType = 0x5
	CKG_MGF1_SHA3_224 MGFType = 0x6
	CKG_MGF1_SHA3_256 MGFType = 0x7
	CKG_MGF1_SHA3_384 MGFType = 0x8
	CKG_MGF1_SHA3_512 MGFType = 0x9
)

var namesCKG = []name{
	{0x1, "CKG_MGF1_SHA1"},
	{0x2, "CKG_MGF1_SHA256"},
	{0x3, "CKG_MGF1_SHA384"},
	{0x4, "CKG_MGF1_SHA512"},
	{0x5, "CKG_MGF1_SHA224"},
	{0x6, "CKG_MGF1_SHA3_224"},
	{0x7, "CKG_MGF1_SHA3_256"},
	{0x8, "CKG_MGF1_SHA3_384"},
	{0x9, "CKG_MGF1_SHA3_512"},
}

// Sources of an encoding parameter.
const (
	CKZ_DATA_SPECIFIED SourceType = 0x1
	CKZ_SALT_SPECIFIED SourceType = 0x1
)

// Key derivation functions.
const (
	CKD_NULL                 KDFType = 0x1
	CKD_SHA1_KDF             KDFType = 0x2
	CKD_SHA1_KDF_ASN1        KDFType = 0x3
	CKD_SHA1_KDF_CONCATENATE KDFType = 0x4
	CKD_SHA224_KDF           KDFType = 0x5
	CKD_SHA256_KDF           KDFType = 0x6
	CKD_SHA384_KDF           KDFType = 0x7
	CKD_SHA512_KDF           KDFType = 0x8
	CKD_CPDIVERSIFY_KDF      KDFType = 0x9
	CKD_SHA3_224_KDF         KDFType = 0xa
	CKD_SHA3_256_KDF         KDFType = 0xb
	CKD_SHA3_384_KDF         KDFType = 0xc
	CKD_SHA3_512_KDF         KDFType = 0xd
	CKD_SHA1_KDF_SP800       KDFType = 0xe
	CKD_SHA224_KDF_SP800     KDFType = 0xf
	CKD_SHA256_KDF_SP800     KDFType = 0x10
	CKD_SHA384_KDF_SP800     KDFType = 0x11
	CKD_SHA512_KDF_SP800     KDFType = 0x12
	CKD_SHA3_224_KDF_SP800   KDFType = 0x13
	CKD_SHA3_256_KDF_SP800   KDFType = 0x14
	CKD_SHA3_384_KDF_SP800   KDFType = 0x15
	CKD_SHA3_512_KDF_SP800   KDFType = 0x16
)

var namesCKD = []name{
	{0x1, "CKD_NULL"},
	{0x2, "CKD_SHA1_KDF"},
	{0x3, "CKD_SHA1_KDF_ASN1"},
	{0x4, "CKD_SHA1_KDF_CONCATENATE"},
	{0x5, "CKD_SHA224_KDF"},
	{0x6, "CKD_SHA256_KDF"},
	{0x7, "CKD_SHA384_KDF"},
	{0x8, "CKD_SHA512_KDF"},
	{0x9, "CKD_CPDIVERSIFY_KDF"},
	{0xa, "CKD_SHA3_224_KDF"},
	{0xb, "CKD_SHA3_256_KDF"},
	{0xc, "CKD_SHA3_384_KDF"},
	{0xd, "CKD_SHA3_512_KDF"},
	{0xe, "CKD_SHA1_KDF_SP800"},
	{0xf, "CKD_SHA224_KDF_SP800"},
	{0x10, "CKD_SHA256_KDF_SP800"},
	{0x11, "CKD_SHA384_KDF_SP800"},
	{0x12, "CKD_SHA512_KDF_SP800"},
	{0x13, "CKD_SHA3_224_KDF_SP800"},
	{0x14, "CKD_SHA3_256_KDF_SP800"},
	{0x15, "CKD_SHA3_384_KDF_SP800"},
	{0x16, "CKD_SHA3_512_KDF_SP800"},
}

// Profiles.
const (
	CKP_INVALID_ID                ProfileID = 0x0
	CKP_BASELINE_PROVIDER         ProfileID = 0x1
	CKP_EXTENDED_PROVIDER         ProfileID = 0x2
	CKP_AUTHENTICATION_TOKEN      ProfileID = 0x3
	CKP_PUBLIC_CERTIFICATES_TOKEN ProfileID = 0x4
)

var namesCKP = []name{
	{0x0, "CKP_INVALID_ID"},
	{0x1, "CKP_BASELINE_PROVIDER"},
	{0x2, "CKP_EXTENDED_PROVIDER"},
	{0x3, "CKP_AUTHENTICATION_TOKEN"},
	{0x4, "CKP_PUBLIC_CERTIFICATES_TOKEN"},
}

// Hardware features.
const (
	CKH_MONOTONIC_COUNTER HardwareFeature = 0x1
	CKH_CLOCK             HardwareFeature = 0x2
	CKH_USER_INTERFACE    HardwareFeature = 0x3
)

var namesCKH = []name{
	{0x1, "CKH_MONOTONIC_COUNTER"},
	{0x2, "CKH_CLOCK"},
	{0x3, "CKH_USER_INTERFACE"},
}

// Flags; which of them belong together tells the type that holds them.
const (
	CKF_TOKEN_PRESENT                  = 0x1
	CKF_RNG                            = 0x1
	CKF_NEXT_OTP                       = 0x1
	CKF_HW                             = 0x1
	CKF_DONT_BLOCK                     = 0x1
	CKF_LIBRARY_CANT_CREATE_OS_THREADS = 0x1
	CKF_END_OF_MESSAGE                 = 0x1
	CKF_INTERFACE_FORK_SAFE            = 0x1
	CKF_HKDF_SALT_NULL                 = 0x1
	CKF_REMOVABLE_DEVICE               = 0x2
	CKF_WRITE_PROTECTED                = 0x2
	CKF_RW_SESSION                     = 0x2
	CKF_EXCLUDE_TIME                   = 0x2
	CKF_OS_LOCKING_OK                  = 0x2
	CKF_MESSAGE_ENCRYPT                = 0x2
	CKF_HKDF_SALT_DATA                 = 0x2
	CKF_HW_SLOT                        = 0x4
	CKF_LOGIN_REQUIRED                 = 0x4
	CKF_SERIAL_SESSION                 = 0x4
	CKF_EXCLUDE_COUNTER                = 0x4
	CKF_MESSAGE_DECRYPT                = 0x4
	CKF_HKDF_SALT_KEY                  = 0x4
	CKF_USER_PIN_INITIALIZED           = 0x8
	CKF_EXCLUDE_CHALLENGE              = 0x8
	CKF_MESSAGE_SIGN                   = 0x8
	CKF_EXCLUDE_PIN                    = 0x10
	CKF_MESSAGE_VERIFY                 = 0x10
	CKF_RESTORE_KEY_NOT_NEEDED         = 0x20
	CKF_USER_FRIENDLY_OTP              = 0x20
	CKF_MULTI_MESSAGE                  = 0x20
	CKF_CLOCK_ON_TOKEN                 = 0x40
	CKF_FIND_OBJECTS                   = 0x40
	CKF_PROTECTED_AUTHENTICATION_PATH  = 0x100
	CKF_ENCRYPT                        = 0x100
	CKF_DUAL_CRYPTO_OPERATIONS         = 0x200
	CKF_DECRYPT                        = 0x200
	CKF_TOKEN_INITIALIZED              = 0x400
	CKF_DIGEST                         = 0x400
	CKF_SIGN                           = 0x800
	CKF_SIGN_RECOVER                   = 0x1000
	CKF_VERIFY                         = 0x2000
	CKF_VERIFY_RECOVER                 = 0x4000
	CKF_GENERATE                       = 0x8000
	CKF_USER_PIN_COUNT_LOW             = 0x10000
	CKF_GENERATE_KEY_PAIR              = 0x10000
	CKF_USER_PIN_FINAL_TRY             = 0x20000
	CKF_WRAP                           = 0x20000
	CKF_USER_PIN_LOCKED                = 0x40000
	CKF_UNWRAP                         = 0x40000
	CKF_USER_PIN_TO_BE_CHANGED         = 0x80000
	CKF_DERIVE                         = 0x80000
	CKF_SO_PIN_COUNT_LOW               = 0x100000
	CKF_EC_F_P                         = 0x100000
	CKF_SO_PIN_FINAL_TRY               = 0x200000
	CKF_EC_F_2M                        = 0x200000
	CKF_SO_PIN_LOCKED                  = 0x400000
	CKF_EC_ECPARAMETERS                = 0x400000
	CKF_SO_PIN_TO_BE_CHANGED           = 0x800000
	CKF_EC_NAMEDCURVE                  = 0x800000
	CKF_EC_UNCOMPRESS                  = 0x1000000
	CKF_ERROR_STATE                    = 0x1000000
	CKF_EC_COMPRESS                    = 0x2000000
	CKF_EC_CURVENAME                   = 0x4000000
	CKF_ARRAY_ATTRIBUTE                = 0x40000000
)
