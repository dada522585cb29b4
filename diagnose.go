package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Diagnose looks at the token of the given name, as Open takes it, and reports
// what it finds, from the outside inwards: the diagnosis that the backend has
// registered (driver.RegisterDiagnosis), which opens nothing and changes
// nothing, or for a scheme of RegisterModule what the module says of itself. It
// asks for no PIN; of a pin-file in the name it checks that it can be used. The
// error is for a name that is malformed and for a diagnosis that could not be
// made, never for what is wrong with the token.
func Diagnose(ctx context.Context, name string) ([]driver.Finding, error) {
	params, err := driver.ParseName(name)
	if err != nil {
		return nil, fail("diagnose", err, "")
	}
	label, pinFile := params.String("token", ""), params.String("pin-file", "")
	modules.RLock()
	isModule := modules.open[params.Scheme] != nil
	modules.RUnlock()
	if err := known(params.Scheme); err != nil {
		return nil, fail("diagnose", err, "")
	}
	var found []driver.Finding
	if isModule {
		found = diagnoseModule(ctx, params, label)
	} else if found, err = driver.DiagnoseParams(ctx, params); err != nil {
		return nil, fail("diagnose", err, "")
	}
	if pinFile != "" {
		found = append(found, diagnosePINFile(pinFile))
	}
	if err := ctx.Err(); err != nil {
		return nil, fail("diagnose", err, "")
	}
	return found, nil
}

// diagnoseModule opens a whole module, which is in another process, and looks at
// the token in it.
func diagnoseModule(ctx context.Context, params *driver.Params, label string) []driver.Finding {
	m, err := openModule(ctx, params)
	if err != nil {
		return []driver.Finding{{Severity: driver.Problem, Name: "open", Text: trimPrefix(err.Error()), Cure: unreachable(err)}}
	}
	defer m.Close()
	var found []driver.Finding
	add := func(s driver.Severity, name, cure, format string, args ...any) {
		found = append(found, driver.Finding{Severity: s, Name: name, Text: fmt.Sprintf(format, args...), Cure: cure})
	}
	info, err := m.Info(ctx)
	if err != nil {
		add(driver.Problem, "open", unreachable(err), "%s", trimPrefix(err.Error()))
		return found
	}
	add(driver.Good, "open", "", "%s %s answers (Cryptoki %s)", strings.TrimSpace(info.LibraryDescription), info.LibraryVersion, info.CryptokiVersion)
	slot, err := selectSlot(ctx, m, label)
	if err == nil {
		var ti pkcs11.TokenInfo
		if ti, err = m.TokenInfo(ctx, slot); err == nil {
			return append(found, diagnoseInfo(ti)...)
		}
	}
	cure := "name the token with token=LABEL, or make one with cryptoki init"
	if errors.Is(err, pkcs11.CKR_TOKEN_NOT_PRESENT) && label == "" {
		cure = "if cryptoki serve is at the other end, its configuration lets this user see no token: allow, read-only"
	}
	add(driver.Problem, "token", cure, "%s", trimPrefix(err.Error()))
	return found
}

// unreachable says what to do if a module in another process does not answer.
func unreachable(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "become a member of the group that the socket belongs to"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "start the program that serves the module (cryptoki serve), or correct the path"
	}
	return "see the message, and the log of the program that serves the module"
}

// diagnoseInfo reports what the flags of a token say.
func diagnoseInfo(info pkcs11.TokenInfo) []driver.Finding {
	has := func(flag uint64) bool { return info.Flags&flag != 0 }
	token := driver.Finding{Name: "token", Text: fmt.Sprintf("%q, %s, serial %s", info.Label, strings.TrimSpace(info.ManufacturerID+" "+info.Model), info.SerialNumber)}
	if !has(pkcs11.CKF_TOKEN_INITIALIZED) {
		token.Severity, token.Text = driver.Problem, "the token is not initialized"
		token.Cure = "cryptoki init --label NAME"
		return []driver.Finding{token}
	}
	found := []driver.Finding{token}
	for _, pin := range []struct {
		name, who, cure    string
		low, final, locked uint64
	}{
		{"user-pin", "user", "the SO sets a new one: cryptoki pin unlock", pkcs11.CKF_USER_PIN_COUNT_LOW, pkcs11.CKF_USER_PIN_FINAL_TRY, pkcs11.CKF_USER_PIN_LOCKED},
		{"so-pin", "SO", "there is none but a backup or a new token", pkcs11.CKF_SO_PIN_COUNT_LOW, pkcs11.CKF_SO_PIN_FINAL_TRY, pkcs11.CKF_SO_PIN_LOCKED},
	} {
		f := driver.Finding{Name: pin.name, Text: "no wrong " + pin.who + " PIN since the last right one"}
		switch {
		case pin.who == "user" && !has(pkcs11.CKF_LOGIN_REQUIRED):
			f.Text = "the token needs no user PIN"
		case pin.who == "user" && !has(pkcs11.CKF_USER_PIN_INITIALIZED):
			f.Severity, f.Text, f.Cure = driver.Warning, "the user has no PIN yet", pin.cure
		case has(pin.locked):
			f.Severity, f.Text, f.Cure = driver.Problem, "the "+pin.who+" PIN is locked", pin.cure
			if pin.who == "SO" {
				f.Severity = driver.Warning // the user still works
			}
		case has(pin.final):
			f.Severity, f.Text, f.Cure = driver.Warning, "one more wrong "+pin.who+" PIN locks it", "correct the source of the PIN before the next login"
		case has(pin.low):
			f.Severity, f.Text, f.Cure = driver.Warning, "a wrong "+pin.who+" PIN was entered since the last right one", "correct the source of the PIN; a right one resets the count"
		}
		found = append(found, f)
	}
	return found
}

func diagnosePINFile(path string) driver.Finding {
	pin, err := readPINFile(path, true)
	clear(pin)
	if err != nil {
		return driver.Finding{Severity: driver.Problem, Name: "pin-file", Text: err.Error(), Cure: "put the PIN into a file of mode 0600 that belongs to the user of the program"}
	}
	return driver.Finding{Name: "pin-file", Text: path + " can be read, and by nobody else"}
}
