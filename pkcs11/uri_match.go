package pkcs11

import (
	"bytes"
	"strings"
)

// Unknown returns the names of the vendor-specific attributes in the path of u,
// but those that begin with x-. They say something about what is meant that is
// not understood here, so that u matches nothing: RFC 7512 §2.5. A program
// that finds nothing may report them; a misspelled attribute is one of them.
// Attributes that begin with x-, and those of the query, are ignored.
func (u *URI) Unknown() []string {
	var names []string
	for _, a := range u.Vendor {
		if !strings.HasPrefix(a.Name, "x-") {
			names = append(names, a.Name)
		}
	}
	return names
}

// MatchModule reports whether a module is one that u describes.
func (u *URI) MatchModule(info Info) bool {
	return len(u.Unknown()) == 0 &&
		u.matchText("library-description", info.LibraryDescription) &&
		u.matchText("library-manufacturer", info.ManufacturerID) &&
		(u.LibraryVersion == nil || *u.LibraryVersion == info.LibraryVersion)
}

// MatchSlot reports whether a slot is one that u describes.
func (u *URI) MatchSlot(id SlotID, info SlotInfo) bool {
	return len(u.Unknown()) == 0 &&
		u.matchText("slot-description", info.Description) &&
		u.matchText("slot-manufacturer", info.ManufacturerID) &&
		(u.SlotID == nil || *u.SlotID == id)
}

// MatchToken reports whether a token is one that u describes. Upper and lower
// case differ; blanks at the end, which pad the texts in C, do not count.
func (u *URI) MatchToken(info TokenInfo) bool {
	return len(u.Unknown()) == 0 &&
		u.matchText("token", info.Label) &&
		u.matchText("manufacturer", info.ManufacturerID) &&
		u.matchText("serial", info.SerialNumber) &&
		u.matchText("model", info.Model)
}

// text returns a text attribute and whether u mentions it.
func (u *URI) text(name string) (string, bool) {
	for i := range uriTexts {
		if uriTexts[i].name == name {
			v := *uriTexts[i].field(u)
			return v, v != "" || u.empty>>i&1 != 0
		}
	}
	return "", false
}

// matchText compares a text attribute with a member of a structure.
func (u *URI) matchText(name, have string) bool {
	want, ok := u.text(name)
	return !ok || strings.TrimRight(want, " ") == strings.TrimRight(have, " ")
}

// MatchObject reports whether an object that has the attributes t is one that u
// describes. An attribute that t lacks matches only if u does not mention it.
func (u *URI) MatchObject(t Template) bool {
	for _, want := range u.ObjectTemplate() {
		have, ok := t.Get(want.Type)
		if !ok || !want.Equal(have) {
			return false
		}
	}
	return len(u.Unknown()) == 0
}

// ObjectTemplate returns what to search for with FindObjectsInit: CKA_CLASS,
// CKA_ID and CKA_LABEL as far as u has them. An empty template finds every
// object; see SelectsObject.
func (u *URI) ObjectTemplate() Template {
	var t Template
	if class, ok := u.Class(); ok {
		t = append(t, Attr(CKA_CLASS, uint64(class)))
	}
	if u.ID != nil {
		t = append(t, Attr(CKA_ID, bytes.Clone(u.ID)))
	}
	if label, ok := u.text("object"); ok {
		t = append(t, Attr(CKA_LABEL, label))
	}
	return t
}

// SelectsObject reports whether u says by which label or ID an object is found;
// without, it describes tokens.
func (u *URI) SelectsObject() bool {
	_, ok := u.text("object")
	return ok || u.ID != nil
}
