// Package clients tests the programs of a distribution against our tokens: each
// row of its table is what people do with PKCS #11 from C, and each column a
// token. The result is docs/interop.md; a cell that changes fails the test, which
// rewrites the page with -update.
//
// The programs are those of a 64-bit Linux; a 32-bit test would see nothing else.
package clients
