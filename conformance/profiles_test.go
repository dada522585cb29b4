package conformance_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// bare is a token with nothing: the four methods, and no mechanism.
type bareToken struct{}

func (bareToken) Info() driver.Info {
	return driver.Info{Label: "bare", SerialNumber: "B1", Flags: pkcs11.CKF_TOKEN_INITIALIZED}
}
func (bareToken) Mechanisms() []driver.Mechanism                   { return nil }
func (bareToken) Objects(context.Context) ([]driver.Object, error) { return nil, nil }
func (bareToken) Close() error                                     { return nil }

// A token that has nothing is not passed in silence: every case about keys and
// objects says what is missing.
func TestEmptyTokenSkipsWithReasons(t *testing.T) {
	report, err := conformance.Check(t.Context(), conformance.Target{Open: func(context.Context) (driver.Token, error) { return bareToken{}, nil }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		switch {
		case r.Outcome == conformance.Fail:
			t.Errorf("%s fails: %v", r.ID, r.Failures)
		case r.Outcome == conformance.Skip && !strings.Contains(r.Reason, "the mechanism table has no") && !strings.Contains(r.Reason, "the profile") && !strings.Contains(r.Reason, "the token"):
			t.Errorf("%s is skipped without saying what is missing: %q", r.ID, r.Reason)
		case r.Outcome == conformance.Pass && (r.Family == "sign" || r.Family == "verify" || r.Family == "object" || r.Family == "random" || r.Family == "key" || r.Family == "crypt"):
			t.Errorf("%s passes on a token that has nothing", r.ID)
		case r.Outcome == conformance.Pass && r.Checks == 0:
			t.Errorf("%s passes and checked nothing", r.ID)
		}
	}
	if report.Skipped < 200 {
		t.Errorf("only %d cases are skipped", report.Skipped)
	}
}

// element is a vault as secure elements are: P-256 keys made inside, no import.
type element struct{ *vault }

func (e element) Mechanisms() []driver.Mechanism {
	return e.vault.Mechanisms()[:2]
}

func (e element) CreateObject(ctx context.Context, t pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	if class := pkcs11.ObjectClass(t.Uint(pkcs11.CKA_CLASS)); class == pkcs11.CKO_PRIVATE_KEY {
		return nil, fmt.Errorf("element: keys are made inside: %w", pkcs11.CKR_TEMPLATE_INCONSISTENT)
	}
	return e.vault.CreateObject(ctx, t, replaces)
}

func TestSecureElement(t *testing.T) {
	disk := &medium{}
	conformance.Run(t, conformance.Target{
		Open:       func(context.Context) (driver.Token, error) { return element{&vault{medium: disk}}, nil },
		Profile:    conformance.Profile{EC: true, Generate: true, JITP: true},
		Sequential: true,
	})
}

// provisioned returns a medium with a PIN and the credentials of a device.
func provisioned(t *testing.T) *medium {
	t.Helper()
	disk := &medium{}
	m, err := cryptoki.NewModule(nil, &vault{medium: disk})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.InitToken(ctx, 1, []byte("0000"), "in use"))
	s, err := m.OpenSession(ctx, 1, pkcs11.SessionFlags(pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION))
	must(err)
	must(s.Login(ctx, pkcs11.CKU_SO, []byte("0000")))
	must(s.InitPIN(ctx, []byte("0000")))
	must(s.Logout(ctx))
	must(s.Login(ctx, pkcs11.CKU_USER, []byte("0000")))
	attr := pkcs11.Attr
	_, _, err = s.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{attr(pkcs11.CKA_EC_PARAMS, []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_LABEL, cryptoki.DevicePublicKey)},
		pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_LABEL, cryptoki.DevicePrivateKey)})
	must(err)
	_, err = s.CreateObject(ctx, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509), attr(pkcs11.CKA_TOKEN, true),
		attr(pkcs11.CKA_LABEL, cryptoki.DeviceCert), attr(pkcs11.CKA_SUBJECT, []byte("x")), attr(pkcs11.CKA_VALUE, selfSigned(t))})
	must(err)
	must(m.Close())
	return disk
}

// On a token that is in use the suite leaves everything as it found it, and runs
// all that needs no token of its own.
func TestTokenInUse(t *testing.T) {
	disk := provisioned(t)
	before := disk.list()
	report, err := conformance.Check(t.Context(), conformance.Target{
		Open:    func(context.Context) (driver.Token, error) { return &vault{medium: disk}, nil },
		Profile: all,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed > 0 {
		var text bytes.Buffer
		report.WriteText(&text)
		t.Errorf("%s", &text)
	}
	if after := disk.list(); after != before {
		t.Errorf("the token holds\n%s\nand held\n%s", after, before)
	}
	if disk.label != "in use" || disk.pins[1] != "0000" {
		t.Errorf("label or PIN changed")
	}
	if disk.wrong > 0 {
		t.Errorf("the suite tried %d wrong PINs on a token that is not its own", disk.wrong)
	}
	if report.Passed < 300 {
		t.Errorf("only %d cases ran", report.Passed)
	}
}

// list describes what is on the medium.
func (m *medium) list() string {
	var b strings.Builder
	for _, o := range m.objects {
		fmt.Fprintf(&b, "%s %v\n", o.id, o.attrs)
	}
	return b.String()
}

// With Destructive, the token is the suite's, whatever was on it.
func TestDestructive(t *testing.T) {
	disk := provisioned(t)
	report, err := conformance.Check(t.Context(), conformance.Target{
		Open:        func(context.Context) (driver.Token, error) { return &vault{medium: disk}, nil },
		Profile:     all,
		Destructive: true,
	}, &conformance.CheckOptions{Select: func(c conformance.Case) bool { return c.Family == "fit" || c.Family == "token" }})
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed > 0 || report.Skipped > 1 { // RSA is not generated
		t.Errorf("%s", report.Outcomes())
	}
	if s := disk.list(); s != "" {
		t.Errorf("the suite left\n%s", s)
	}
}

// Credentials that came with the device are used and stay.
func TestPreprovisioned(t *testing.T) {
	disk := provisioned(t)
	before := disk.list()
	report, err := conformance.Check(t.Context(), conformance.Target{
		Open:    func(context.Context) (driver.Token, error) { return &vault{medium: disk}, nil },
		Profile: conformance.Profile{EC: true, Preprovisioned: true},
	}, &conformance.CheckOptions{Select: func(c conformance.Case) bool { return c.Family == "fit" }})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := string(report.Outcomes())
	for _, id := range []string{"FIT-21", "FIT-22", "FIT-23", "FIT-24", "FIT-25", "FIT-26", "FIT-27"} {
		if !strings.Contains(outcomes, "pass "+id) {
			t.Errorf("%s does not pass:\n%s", id, outcomes)
		}
	}
	if report.Failed > 0 {
		t.Errorf("%s", outcomes)
	}
	if after := disk.list(); after != before {
		t.Errorf("the token holds\n%s\nand held\n%s", after, before)
	}
}

// What is under a label of the tests is not overwritten unasked.
func TestLabelsThatAreTaken(t *testing.T) {
	disk := provisioned(t)
	_, err := conformance.Check(t.Context(), conformance.Target{
		Open:    func(context.Context) (driver.Token, error) { return &vault{medium: disk}, nil },
		Profile: all,
		Labels:  &conformance.Labels{PrivateKey: cryptoki.DevicePrivateKey, PublicKey: "b", Cert: "c", RootCert: "d", CodeVerifyKey: "e", JITPCert: "f"},
	}, nil)
	if err == nil || !strings.Contains(err.Error(), `"Device Priv TLS Key"`) || !strings.Contains(err.Error(), "Destructive") {
		t.Errorf("the error does not name label and cure: %v", err)
	}
}

// The report says what failed, after which call, and marshals.
func TestReport(t *testing.T) {
	m := &mutants[0]
	var live []string
	report, err := conformance.Check(t.Context(), m.target(), &conformance.CheckOptions{
		Select: func(c conformance.Case) bool { return c.ID == "FIT-23" || c.ID == "FIT-05" || c.ID == "FIT-17" },
		Start:  func(c conformance.Case) { live = append(live, "start "+c.ID) },
		Progress: func(r conformance.Result, done, total int) {
			live = append(live, fmt.Sprintf("%s %s %d/%d", r.ID, r.Outcome, done, total))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(live, ", "), "start FIT-05, FIT-05 pass 1/3, start FIT-17, FIT-17 skip 2/3, start FIT-23, FIT-23 fail 3/3"; got != want {
		t.Errorf("progress was %s\nwant %s", got, want)
	}
	var text, data bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FAIL FIT-23 an ECDSA signature", "clause: v2.40 §5.11", "s1.Sign([32 bytes], [256 bytes])", "1 passed, 1 failed, 1 skipped", "the mechanism table has no CKM_RSA_PKCS_KEY_PAIR_GEN"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, &text)
		}
	}
	if err := report.WriteJSON(&data); err != nil {
		t.Fatal(err)
	}
	var back conformance.Report
	if err := json.Unmarshal(data.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Failed != 1 || len(back.Results) != 3 || len(back.Results[2].Log) == 0 || back.Results[2].Failures[0].What == "" || back.Results[0].Log != nil {
		t.Errorf("the JSON lost something:\n%s", &data)
	}
	if s := text.String() + data.String(); strings.Contains(s, "0000") && strings.Contains(s, "PIN(0000") {
		t.Errorf("the report has a PIN in it")
	}
}

// A token that cannot be opened, or whose PIN is another, is an error at once.
func TestSetUpErrors(t *testing.T) {
	disk := provisioned(t)
	open := func(context.Context) (driver.Token, error) { return &vault{medium: disk}, nil }
	for _, c := range []struct {
		name   string
		target conformance.Target
		want   string
	}{
		{"nothing to open", conformance.Target{}, "either Open or OpenModule"},
		{"a wrong PIN", conformance.Target{Open: open, UserPIN: []byte("4711")}, "CKR_PIN_INCORRECT"},
		{"no such slot", conformance.Target{Open: open, Slot: 3}, "slot index 3"},
		{"a wrong SO PIN", conformance.Target{Open: open, SOPIN: []byte("4711"), Destructive: true}, "CKR_PIN_INCORRECT"},
		{"an error of the driver", conformance.Target{Open: func(context.Context) (driver.Token, error) { return nil, pkcs11.CKR_DEVICE_REMOVED }}, "CKR_DEVICE_REMOVED"},
	} {
		_, err := conformance.Check(t.Context(), c.target, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key)
}
