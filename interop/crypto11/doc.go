// Package crypto11 tests what programs do with crypto11, the usual way from Go to
// PKCS #11, against our tokens: github.com/ThalesIgnite/crypto11 v1.2.5, which many
// still have, and its continuation github.com/ThalesGroup/crypto11 v1.5.0. They
// load the distribution's p11-kit-client.so and reach the tokens of cryptoki serve;
// SoftHSM2 is the control, so that a failure shows whose it is.
package crypto11
