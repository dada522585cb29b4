// Package rpc speaks the protocol by which p11-kit reaches PKCS #11 modules in
// other processes, in both directions.
//
// A [Server] serves any cryptoki.Module on a listener or a pipe. C programs load
// p11-kit-client.so of their distribution and find the tokens there; the keys
// stay in the server's process, which alone owns an I²C bus or a TPM, and the
// client may fork as it likes. A [Client] is a cryptoki.Module in another
// process: one of a Server, or with [Remote] any vendor's module in a process of
// its own, started by p11-kit, whose crash is then an error and not ours.
//
// Importing this package makes two schemes known to cryptoki.Open:
//
//	unix:path=/run/cryptoki/cryptoki.sock
//	p11-kit-remote:module=/usr/lib/softhsm/libsofthsm2.so
//
// # The protocol
//
// A connection begins with one byte each way: the newest version that the client
// speaks, and the one that the server chose, which is not newer. After it, each
// message is a header of three 32-bit numbers (a number by which the answer is
// known, the length of options, the length of the body), the options (the name
// of a module, not used) and the body: the number of a call, its signature as
// text, and the arguments in the order of the signature. An answer has the
// number of its request, and the call's number again or 0 for an error, which
// holds a CKR code. Numbers are big-endian, a CK_ULONG has 64 bits.
//
// Version 0 is that of p11-kit up to 0.24, version 1 (0.25) can cancel
// operations and sends labels of any bytes, version 2 (0.26) says whether a
// mechanism has a parameter.
package rpc
