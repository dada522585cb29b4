package cryptoki

import (
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Reading an attribute allocates its value, and that only if it has memory of
// its own: the bytes, and the slice in the interface.
func TestAllocationsOfGetAttributeValue(t *testing.T) {
	_, se := open(t, newChip(t))
	pub, _ := generate(t, se, "k")
	for _, test := range []struct {
		attr pkcs11.AttributeType
		want float64
	}{
		{pkcs11.CKA_TOKEN, 0},
		{pkcs11.CKA_CLASS, 0},
		{pkcs11.CKA_KEY_GEN_MECHANISM, 0},
		{pkcs11.CKA_LABEL, 0},
		{pkcs11.CKA_ID, 2},
		{pkcs11.CKA_EC_POINT, 2},
	} {
		template := pkcs11.Template{{Type: test.attr}}
		ctx := t.Context()
		got := testing.AllocsPerRun(100, func() {
			if err := se.GetAttributeValue(ctx, pub, template); err != nil {
				t.Fatal(err)
			}
		})
		if got > test.want {
			t.Errorf("%v: %v allocations, want %v", test.attr, got, test.want)
		}
	}
}
