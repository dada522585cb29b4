package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// constantsTxt returns the lines of constants.txt: fields of name, value and
// words.
func constantsTxt(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("constants.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]string
	for line := range strings.SplitSeq(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			lines = append(lines, f)
		}
	}
	return lines
}

func TestConstantsAreGenerated(t *testing.T) {
	tool := need.Program(t, "go", "golang")
	gen, err := filepath.Abs("gen.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text, err := os.ReadFile("constants.txt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "constants.txt"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := proc.Command(t, tool, "run", gen)
	cmd.Dir = dir
	// The generator runs here, whatever the tests are built for.
	cmd.Env = append(os.Environ(), "GOOS=", "GOARCH=", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go run gen.go: %v\n%s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(dir, "zconstants.go"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("zconstants.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zconstants.go is not what gen.go makes of constants.txt; run: go generate ./pkcs11")
	}
}

func TestConstantsAreDistinct(t *testing.T) {
	names, values := map[string]bool{}, map[string]string{}
	for _, f := range constantsTxt(t) {
		if names[f[0]] {
			t.Errorf("%s is there twice", f[0])
		}
		names[f[0]] = true
		family, _, _ := strings.Cut(f[0], "_")
		if family == "CKF" || f[0] == "CKZ_SALT_SPECIFIED" {
			continue // several sets of values under one prefix
		}
		v, err := strconv.ParseUint(f[1], 0, 32)
		if err != nil {
			t.Errorf("%s: %v", f[0], err)
		}
		key, alias := fmt.Sprint(family, v), f[len(f)-1] == "alias"
		if other, ok := values[key]; ok != alias {
			t.Errorf("%s and %s have the same value, or one is an alias of nothing", f[0], other)
		}
		values[key] = f[0]
	}
	if len(names) < 750 {
		t.Errorf("only %d constants", len(names))
	}
}

func TestNameTables(t *testing.T) {
	for prefix, table := range map[string][]name{
		"CKR": namesCKR, "CKA": namesCKA, "CKO": namesCKO, "CKK": namesCKK, "CKC": namesCKC, "CKU": namesCKU,
		"CKS": namesCKS, "CKM": namesCKM, "CKG": namesCKG, "CKD": namesCKD, "CKP": namesCKP, "CKH": namesCKH,
	} {
		if len(table) == 0 || !sort.SliceIsSorted(table, func(i, j int) bool { return table[i].value < table[j].value }) {
			t.Errorf("names%s is empty or not sorted", prefix)
		}
		for i, n := range table {
			if !strings.HasPrefix(n.name, prefix+"_") || i > 0 && table[i-1].value == n.value {
				t.Errorf("names%s: %s", prefix, n.name)
			}
			if got := nameOf(prefix, table, n.value); got != n.name {
				t.Errorf("%#x is %s, want %s", n.value, got, n.name)
			}
		}
	}
}

// Values that everybody's headers have, one or two of each family.
func TestWellKnownValues(t *testing.T) {
	for _, c := range []struct {
		got  fmt.Stringer
		v    uint64
		want uint64
		text string
	}{
		{CKA_CLASS, uint64(CKA_CLASS), 0, "CKA_CLASS"},
		{CKA_EC_POINT, uint64(CKA_EC_POINT), 0x181, "CKA_EC_POINT"},
		{CKA_ECDSA_PARAMS, uint64(CKA_ECDSA_PARAMS), 0x180, "CKA_EC_PARAMS"},
		{CKA_PUBLIC_KEY_INFO, uint64(CKA_PUBLIC_KEY_INFO), 0x129, "CKA_PUBLIC_KEY_INFO"},
		{CKA_ALLOWED_MECHANISMS, uint64(CKA_ALLOWED_MECHANISMS), 0x40000600, "CKA_ALLOWED_MECHANISMS"},
		{CKM_RSA_PKCS_KEY_PAIR_GEN, uint64(CKM_RSA_PKCS_KEY_PAIR_GEN), 0, "CKM_RSA_PKCS_KEY_PAIR_GEN"},
		{CKM_SHA256, uint64(CKM_SHA256), 0x250, "CKM_SHA256"},
		{CKM_ECDSA, uint64(CKM_ECDSA), 0x1041, "CKM_ECDSA"},
		{CKM_ECDSA_KEY_PAIR_GEN, uint64(CKM_ECDSA_KEY_PAIR_GEN), 0x1040, "CKM_EC_KEY_PAIR_GEN"},
		{CKM_EDDSA, uint64(CKM_EDDSA), 0x1057, "CKM_EDDSA"},
		{CKM_AES_CMAC, uint64(CKM_AES_CMAC), 0x108a, "CKM_AES_CMAC"},
		{CKO_SECRET_KEY, uint64(CKO_SECRET_KEY), 4, "CKO_SECRET_KEY"},
		{CKK_EC_EDWARDS, uint64(CKK_EC_EDWARDS), 0x40, "CKK_EC_EDWARDS"},
		{CKK_ECDSA, uint64(CKK_ECDSA), 3, "CKK_EC"},
		{CKC_X_509, uint64(CKC_X_509), 0, "CKC_X_509"},
		{CKU_CONTEXT_SPECIFIC, uint64(CKU_CONTEXT_SPECIFIC), 2, "CKU_CONTEXT_SPECIFIC"},
		{CKS_RW_SO_FUNCTIONS, uint64(CKS_RW_SO_FUNCTIONS), 4, "CKS_RW_SO_FUNCTIONS"},
		{CKG_MGF1_SHA224, uint64(CKG_MGF1_SHA224), 5, "CKG_MGF1_SHA224"},
		{CKD_SHA256_KDF, uint64(CKD_SHA256_KDF), 6, "CKD_SHA256_KDF"},
		{CKP_BASELINE_PROVIDER, uint64(CKP_BASELINE_PROVIDER), 1, "CKP_BASELINE_PROVIDER"},
		{CKH_CLOCK, uint64(CKH_CLOCK), 2, "CKH_CLOCK"},
		{AttributeType(0x80000001), 0, 0, "CKA_0x80000001"},
		{MechanismType(0xffffffff), 0, 0, "CKM_0xFFFFFFFF"},
		{ObjectClass(0x99), 0, 0, "CKO_0x99"},
		{KeyType(0x99), 0, 0, "CKK_0x99"},
		{CertificateType(0x99), 0, 0, "CKC_0x99"},
		{HardwareFeature(0x99), 0, 0, "CKH_0x99"},
		{ProfileID(0x99), 0, 0, "CKP_0x99"},
		{UserType(0x99), 0, 0, "CKU_0x99"},
		{SessionState(0x99), 0, 0, "CKS_0x99"},
		{MGFType(0x99), 0, 0, "CKG_0x99"},
		{KDFType(0x99), 0, 0, "CKD_0x99"},
		{KindTemplate, 0, 0, "template"},
		{Kind(200), 0, 0, "Kind(200)"},
	} {
		if c.got.String() != c.text || c.v != c.want {
			t.Errorf("%v = %#x, want %s = %#x", c.got, c.v, c.text, c.want)
		}
	}
	if CKF_TOKEN_INITIALIZED != 0x400 || CKF_GENERATE_KEY_PAIR != 0x10000 || CKF_SO_PIN_TO_BE_CHANGED != 0x800000 || CKF_EC_UNCOMPRESS != 0x1000000 || CKZ_DATA_SPECIFIED != 1 {
		t.Error("flags")
	}
}

func TestKinds(t *testing.T) {
	words := map[string]Kind{"bool": KindBool, "ulong": KindUint, "text": KindText, "date": KindDate, "mechanisms": KindMechanisms, "template": KindTemplate}
	for _, f := range constantsTxt(t) {
		if !strings.HasPrefix(f[0], "CKA_") || f[len(f)-1] == "alias" {
			continue
		}
		want := KindBytes
		if len(f) > 2 {
			want = words[f[2]]
		}
		typ, ok := ParseAttributeType(f[0])
		if !ok || typ.Kind() != want {
			t.Errorf("%s has values of kind %v, want %v", f[0], typ.Kind(), want)
		}
	}
	for _, typ := range []AttributeType{CKA_VALUE, CKA_MODULUS, 0x80000001, 0xffffffff} {
		if typ.Kind() != KindBytes {
			t.Errorf("%v: %v", typ, typ.Kind())
		}
	}
}

func TestParseNames(t *testing.T) {
	for s, want := range map[string]MechanismType{
		"CKM_ECDSA": CKM_ECDSA, "ecdsa": CKM_ECDSA, "ECDSA-SHA256": CKM_ECDSA_SHA256, "ckm-ecdsa_sha256": CKM_ECDSA_SHA256,
		"ECDSA-KEY-PAIR-GEN": CKM_EC_KEY_PAIR_GEN, "RSA-PKCS-KEY-PAIR-GEN": 0, "CKM_0x80000001": 0x80000001, "0x1041": CKM_ECDSA, "CKM_0XFFFFFFFF": 0xffffffff,
	} {
		if got, ok := ParseMechanism(s); !ok || got != want {
			t.Errorf("ParseMechanism(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "CKM_", "ECDS", "CKA_LABEL", "ECDSA ", "0x", "0x100000000", "4161", "0x-1"} {
		if got, ok := ParseMechanism(s); ok {
			t.Errorf("ParseMechanism(%q) = %v", s, got)
		}
	}
	for s, want := range map[string]AttributeType{"label": CKA_LABEL, "CKA_EC-POINT": CKA_EC_POINT, "ecdsa-params": CKA_EC_PARAMS, "CKA_0x80000001": 0x80000001} {
		if got, ok := ParseAttributeType(s); !ok || got != want {
			t.Errorf("ParseAttributeType(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, v := range []MechanismType{0, CKM_SHA_1, CKM_EC_KEY_PAIR_GEN, 0x99, 0xffffffff} {
		if got, ok := ParseMechanism(v.String()); !ok || got != v {
			t.Errorf("%v comes back as %v", v, got)
		}
	}
}

func TestErrorIs(t *testing.T) {
	for _, c := range []struct {
		err    error
		target error
		want   bool
	}{
		{CKR_PIN_INCORRECT, CKR_PIN_INCORRECT, true},
		{CKR_PIN_INCORRECT, CKR_PIN_LOCKED, false},
		{CKR_PIN_INCORRECT, fs.ErrPermission, true},
		{CKR_PIN_LOCKED, fs.ErrPermission, true},
		{CKR_USER_NOT_LOGGED_IN, fs.ErrPermission, true},
		{CKR_KEY_FUNCTION_NOT_PERMITTED, fs.ErrPermission, true},
		{CKR_SESSION_READ_ONLY, fs.ErrPermission, true},
		{CKR_TOKEN_WRITE_PROTECTED, fs.ErrPermission, true},
		{CKR_ACTION_PROHIBITED, fs.ErrPermission, true},
		{CKR_GENERAL_ERROR, fs.ErrPermission, false},
		{CKR_FUNCTION_NOT_SUPPORTED, errors.ErrUnsupported, true},
		{CKR_MECHANISM_INVALID, errors.ErrUnsupported, true},
		{CKR_CURVE_NOT_SUPPORTED, errors.ErrUnsupported, true},
		{CKR_RANDOM_NO_RNG, errors.ErrUnsupported, true},
		{CKR_PIN_INCORRECT, errors.ErrUnsupported, false},
		{CKR_FUNCTION_CANCELED, context.Canceled, true},
		{CKR_FUNCTION_CANCELED, context.DeadlineExceeded, false},
		{CKR_DEVICE_ERROR, context.Canceled, false},
		{CKR_OBJECT_HANDLE_INVALID, fs.ErrNotExist, false},
		{CKR_DEVICE_ERROR, nil, false},
	} {
		for _, err := range []error{c.err, fmt.Errorf("backend: thing: %w", c.err), fmt.Errorf("a: %w: %w", fs.ErrClosed, c.err)} {
			if got := errors.Is(err, c.target); got != c.want {
				t.Errorf("errors.Is(%v, %v) = %v", err, c.target, got)
			}
		}
	}
	if got := CKR_USER_NOT_LOGGED_IN.Error() + " " + Error(0x80000001).Error(); got != "CKR_USER_NOT_LOGGED_IN CKR_0x80000001" {
		t.Error(got)
	}
}

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Error
	}{
		{nil, 0},
		{CKR_PIN_LOCKED, CKR_PIN_LOCKED},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w: %w", CKR_DEVICE_ERROR, fs.ErrClosed)), CKR_DEVICE_ERROR},
		{fmt.Errorf("%w: %w", CKR_DEVICE_ERROR, context.Canceled), CKR_DEVICE_ERROR},
		{errors.Join(fs.ErrClosed, CKR_DATA_INVALID), CKR_DATA_INVALID},
		{context.Canceled, CKR_FUNCTION_CANCELED},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), CKR_FUNCTION_CANCELED},
		{fs.ErrPermission, CKR_GENERAL_ERROR},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("CodeOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestVersionString(t *testing.T) {
	for want, v := range map[string]Version{"2.40": {2, 40}, "2.01": {2, 1}, "3.0": {3, 0}, "3.2": {3, 2}, "255.255": {255, 255}} {
		if v.String() != want {
			t.Errorf("%v, want %s", v, want)
		}
	}
}
