package cryptoki_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A token of so many objects that two processors open it finds each by its label and
// by its CKA_ID, in the order of their creation. Neighbours have the same label or the
// same id, or both, or neither.
func TestManyObjects(t *testing.T) {
	const n = 1500
	label := func(i int) string { return fmt.Sprint("label ", i/2) }
	id := func(i int) []byte { return fmt.Appendf(nil, "id %d", i/3) }
	store := new(pal.Mem)
	setUp(t, newModule(t, store, false), nil).Close()
	login := func() cryptoki.Session {
		s := openSession(t, newModule(t, store, false))
		require.NoError(t, s.Login(t.Context(), pkcs11.CKU_USER, userPIN))
		return s
	}
	s := login()
	for i := range n {
		_, err := s.CreateObject(t.Context(), pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)),
			pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, i%5 > 0),
			pkcs11.Attr(pkcs11.CKA_LABEL, label(i)), pkcs11.Attr(pkcs11.CKA_ID, id(i)),
			pkcs11.Attr(pkcs11.CKA_VALUE, fmt.Appendf(nil, "%016d", i)), pkcs11.Attr(pkcs11.CKA_SENSITIVE, false), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true),
		})
		require.NoError(t, err)
	}
	s = login()
	find := func(template ...pkcs11.Attribute) []int {
		require.NoError(t, s.FindObjectsInit(t.Context(), template))
		found := make([]pkcs11.ObjectHandle, n+1)
		got, err := s.FindObjects(t.Context(), found)
		require.NoError(t, err)
		require.NoError(t, s.FindObjectsFinal(t.Context()))
		var numbers []int
		for _, h := range found[:got] {
			attrs := pkcs11.Template{{Type: pkcs11.CKA_LABEL}, {Type: pkcs11.CKA_ID}, {Type: pkcs11.CKA_VALUE}}
			require.NoError(t, s.GetAttributeValue(t.Context(), h, attrs))
			i, err := strconv.Atoi(string(attrs[2].Bytes()))
			require.NoError(t, err)
			require.Equal(t, label(i), attrs[0].Text())
			require.Equal(t, id(i), attrs[1].Bytes())
			numbers = append(numbers, i)
		}
		return numbers
	}
	all := find()
	require.Len(t, all, n)
	require.True(t, slices.IsSorted(all))
	for i := range n {
		require.Equal(t, []int{i &^ 1, i | 1}, find(pkcs11.Attr(pkcs11.CKA_LABEL, label(i))))
		require.Equal(t, []int{i - i%3, i - i%3 + 1, i - i%3 + 2}, find(pkcs11.Attr(pkcs11.CKA_ID, id(i))))
	}
}
