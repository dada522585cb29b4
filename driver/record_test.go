package driver_test

import (
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestTemplateRoundTrip(t *testing.T) {
	want := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE)),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_LABEL, "Device Cert"),
		pkcs11.Attr(pkcs11.CKA_VALUE, []byte{0x30, 0}),
	}
	b, err := driver.AppendTemplate([]byte{7}, want)
	if err != nil {
		t.Fatal(err)
	}
	if b[0] != 7 {
		t.Errorf("the byte in front became %d", b[0])
	}
	got, err := driver.ParseTemplate(b[1:])
	if err != nil || !got.Equal(want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for n := range len(b) - 1 {
		if _, err := driver.ParseTemplate(b[1 : 1+n]); err == nil {
			t.Errorf("the first %d bytes of %d were parsed", n, len(b)-1)
		}
	}
}
