package soft

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A year of a gateway, for what docs/fileflash.md says of wear: a login an hour, and
// every month a new key pair and certificate in the place of the old ones. A month
// is counted on the simulated medium.
func TestWear(t *testing.T) {
	m := paltest.NewMedium()
	store, err := fileflash.OpenFS(m, "medium", nil)
	require.NoError(t, err)
	defer store.Close()
	token := newToken(t, store)
	login(t, token)
	fill(t, token, 4) // keys that stay
	var cert, pub, priv driver.Object
	renew := func() {
		replaces := []driver.Object{}
		if pub != nil {
			replaces = append(replaces, pub, priv)
		}
		pub, priv, err = token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
			publicTemplate(pkcs11.CKK_EC, "Device Pub TLS Key", pkcs11.CKA_EC_PARAMS, oidP256), privateTemplate(pkcs11.CKK_EC, "Device Priv TLS Key"), replaces)
		require.NoError(t, err)
		replaces = replaces[:0]
		if cert != nil {
			replaces = append(replaces, cert)
		}
		cert, err = token.CreateObject(ctx, append(common(pkcs11.CKO_CERTIFICATE, "Device Cert", false),
			attrs(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509, pkcs11.CKA_VALUE, bytes.Repeat([]byte{0x30}, 900))...), replaces)
		require.NoError(t, err)
	}
	renew()
	const hours = 730 // of a month
	before := m.Usage()
	for range hours {
		login(t, token)
	}
	renew()
	u := m.Usage()
	bytes, syncs, compactions := u.Bytes-before.Bytes, u.Syncs-before.Syncs, u.Renames-before.Renames
	t.Logf("a token of %d bytes: in a year %d bytes in %d syncs, %d of them compactions", store.Stats().Live, 12*bytes, 12*syncs, 12*compactions)
	require.Less(t, 12*bytes, int64(3<<20))
	require.LessOrEqual(t, syncs, 2*hours+2)
	require.Greater(t, compactions, 1)
}
