package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var tokenFields = []field{
	{"label", "of the token"},
	{"manufacturer", ""}, {"model", ""}, {"serial", "the serial number"},
	{"hardwareVersion", ""}, {"firmwareVersion", ""},
	{"initialized", "whether the token is"},
	{"loginRequired", "whether private keys need the user PIN"},
	{"userPinSet", "whether there is one"},
	{"userPin", "ok, low (a wrong one was entered), final (one more wrong PIN locks) or locked"},
	{"soPin", "the same of the SO PIN; none if the token has no SO"},
	{"writeProtected", ""},
	{"minPinLength", "in bytes"}, {"maxPinLength", ""},
	{"uri", "a pkcs11: URI for the token"},
}

var infoCommand = command{
	name:    "info",
	summary: "show the token, the state of its PINs, and what it can do",
	about:   `It needs no PIN, and changes nothing.`,
	json: append(slices.Clip(tokenFields),
		field{"backup", "whether backup copies keys that are not extractable"},
		field{"library", "description and version of the module"},
		field{"mechanisms", "array of name, minKeySize, maxKeySize, flags; in the token's numbers"}),
	example: []example{
		{"", "cryptoki info"},
		{"is the user PIN locked?", "cryptoki info --json | jq -r .userPin"},
	},
	flags: func(o *options) runFunc {
		var mechs bool
		o.flag(&mechs, "mechanisms,m", "list the mechanisms too")
		return func(ctx context.Context, a *app, _ []string) error {
			return a.with(ctx, noLogin, func(t *cryptoki.Token) error { return a.info(ctx, t, mechs) })
		}
	},
}

type tokenInfo struct {
	Label           string `json:"label"`
	Manufacturer    string `json:"manufacturer"`
	Model           string `json:"model"`
	Serial          string `json:"serial"`
	HardwareVersion string `json:"hardwareVersion"`
	FirmwareVersion string `json:"firmwareVersion"`
	Initialized     bool   `json:"initialized"`
	LoginRequired   bool   `json:"loginRequired"`
	UserPINSet      bool   `json:"userPinSet"`
	UserPIN         string `json:"userPin"`
	SOPIN           string `json:"soPin"`
	WriteProtected  bool   `json:"writeProtected"`
	MinPINLength    uint64 `json:"minPinLength"`
	MaxPINLength    uint64 `json:"maxPinLength"`
	URI             string `json:"uri"`
}

func tokenJSON(i pkcs11.TokenInfo) tokenInfo {
	has := func(f uint64) bool { return i.Flags&f != 0 }
	state := func(low, final, locked uint64) string {
		switch {
		case has(locked):
			return "locked"
		case has(final):
			return "final"
		case has(low):
			return "low"
		}
		return "ok"
	}
	return tokenInfo{
		Label: i.Label, Manufacturer: i.ManufacturerID, Model: i.Model, Serial: i.SerialNumber,
		HardwareVersion: i.HardwareVersion.String(), FirmwareVersion: i.FirmwareVersion.String(),
		Initialized: has(pkcs11.CKF_TOKEN_INITIALIZED), LoginRequired: has(pkcs11.CKF_LOGIN_REQUIRED),
		UserPINSet:     has(pkcs11.CKF_USER_PIN_INITIALIZED),
		UserPIN:        state(pkcs11.CKF_USER_PIN_COUNT_LOW, pkcs11.CKF_USER_PIN_FINAL_TRY, pkcs11.CKF_USER_PIN_LOCKED),
		SOPIN:          state(pkcs11.CKF_SO_PIN_COUNT_LOW, pkcs11.CKF_SO_PIN_FINAL_TRY, pkcs11.CKF_SO_PIN_LOCKED),
		WriteProtected: has(pkcs11.CKF_WRITE_PROTECTED),
		MinPINLength:   i.MinPinLen, MaxPINLength: i.MaxPinLen,
		URI: (&pkcs11.URI{Token: i.Label, Manufacturer: i.ManufacturerID, Model: i.Model, Serial: i.SerialNumber}).String(),
	}
}

type mechanismInfo struct {
	Name  string   `json:"name"`
	Min   uint64   `json:"minKeySize"`
	Max   uint64   `json:"maxKeySize"`
	Flags []string `json:"flags"`
}

func (a *app) info(ctx context.Context, t *cryptoki.Token, listMechs bool) error {
	info, err := t.Info(ctx)
	if err != nil {
		return err
	}
	lib, err := t.Module().Info(ctx)
	if err != nil {
		return err
	}
	mechs, err := t.Mechanisms(ctx)
	if err != nil {
		return err
	}
	backups, err := backupAllowed(ctx, t)
	if err != nil {
		return err
	}
	var list []mechanismInfo
	for m, i := range mechs {
		list = append(list, mechanismInfo{m.String(), i.MinKeySize, i.MaxKeySize, mechanismFlags(i.Flags)})
	}
	slices.SortFunc(list, func(a, b mechanismInfo) int { return strings.Compare(a.Name, b.Name) })
	library := fmt.Sprintf("%s %s (Cryptoki %s)", lib.LibraryDescription, lib.LibraryVersion, lib.CryptokiVersion)
	j := tokenJSON(info)
	so, err := soPIN(t, j)
	if err != nil {
		return err
	}
	if so == noSO {
		j.SOPIN = noSO
	}
	if a.json {
		return a.printJSON(struct {
			tokenInfo
			Backup     bool            `json:"backup"`
			Library    string          `json:"library"`
			Mechanisms []mechanismInfo `json:"mechanisms"`
		}{j, backups, library, list})
	}
	if !j.Initialized {
		if err := a.printf("the token is not initialized: cryptoki init --label NAME\n"); err != nil {
			return err
		}
	}
	rows := [][]string{
		{"label", j.Label}, {"model", strings.TrimSpace(j.Manufacturer + " " + j.Model)}, {"serial", j.Serial},
		{"firmware", j.FirmwareVersion}, {"library", library}, {"uri", j.URI},
		{"user PIN", pinWords(j.UserPINSet, j.LoginRequired, j.UserPIN)}, {"SO PIN", so},
		{"mechanisms", fmt.Sprintf("%d", len(list))},
	}
	rows = slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
	if backups {
		rows = append(rows, []string{"backup", "copies all keys, extractable or not"})
	}
	if j.WriteProtected {
		rows = append(rows, []string{"writable", "no"})
	}
	if err := a.table(rows); err != nil || !listMechs {
		return err
	}
	rows = [][]string{{"MECHANISM", "KEY SIZES", "USE"}}
	for _, m := range list {
		rows = append(rows, []string{m.Name, sizes(m.Min, m.Max), strings.Join(m.Flags, " ")})
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return a.table(rows)
}

// noSO is the SO PIN of a token that has no SO.
const noSO = "none"

// soPIN says what is known of the SO PIN. Of a module in another process that is
// what its flags say, if anything.
func soPIN(t *cryptoki.Token, j tokenInfo) (string, error) {
	m, ok := t.Module().(cryptoki.SOReporter)
	if !ok && j.SOPIN == "ok" {
		return "", nil
	}
	if ok {
		if has, err := m.HasSO(t.Slot()); !has || err != nil {
			return noSO, err
		}
	}
	return pinWords(j.Initialized, true, j.SOPIN), nil
}

func pinWords(set, required bool, state string) string {
	switch {
	case !set && !required:
		return "not needed"
	case !set:
		return "not set"
	}
	switch state {
	case "low":
		return "set; a wrong one was entered since the last login"
	case "final":
		return "set; one more wrong PIN locks it"
	case "locked":
		return "LOCKED"
	}
	return "set"
}

func sizes(lo, hi uint64) string {
	switch {
	case hi == 0 || lo == pkcs11.Unavailable || hi == pkcs11.Unavailable:
		return ""
	case lo == hi:
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d-%d", lo, hi)
}

func mechanismFlags(flags uint64) []string {
	words := []string{}
	for _, f := range []struct {
		flag uint64
		word string
	}{
		{pkcs11.CKF_HW, "hardware"}, {pkcs11.CKF_GENERATE_KEY_PAIR, "generate-pair"}, {pkcs11.CKF_GENERATE, "generate"},
		{pkcs11.CKF_SIGN, "sign"}, {pkcs11.CKF_VERIFY, "verify"}, {pkcs11.CKF_DIGEST, "digest"},
		{pkcs11.CKF_ENCRYPT, "encrypt"}, {pkcs11.CKF_DECRYPT, "decrypt"},
		{pkcs11.CKF_WRAP, "wrap"}, {pkcs11.CKF_UNWRAP, "unwrap"}, {pkcs11.CKF_DERIVE, "derive"},
	} {
		if flags&f.flag != 0 {
			words = append(words, f.word)
		}
	}
	return words
}
