package pal_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

var _ pal.Batcher = (*pal.Mem)(nil) // or paltest leaves that out

func TestMem(t *testing.T) {
	paltest.TestStore(t, func(*testing.T) pal.Store { return new(pal.Mem) },
		paltest.Reopen(func(t *testing.T, s pal.Store) pal.Store { return s }))
}

func TestMemIsSafeForConcurrentUse(t *testing.T) {
	var m pal.Mem
	var wg sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprint("record-", i)
		wg.Go(func() {
			for range 200 {
				if err := m.Save(name, []byte(name)); err != nil {
					t.Error(err)
				}
				if got, err := m.Load(name); err != nil || string(got) != name {
					t.Errorf("Load: %q, %v", got, err)
				}
				if _, err := m.Names(); err != nil {
					t.Error(err)
				}
				if err := m.Batch([]pal.Change{{Name: name}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestMemDoesNotPrintRecords(t *testing.T) {
	m := new(pal.Mem)
	if err := m.Save("key", bytes.Repeat([]byte("S"), 8)); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		got := fmt.Sprintf(verb, m)
		if strings.Contains(got, "SSS") || strings.Contains(got, "83") || strings.Contains(got, "0x53") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestCheckBatch(t *testing.T) {
	one := []byte{1}
	for _, tt := range []struct {
		changes []pal.Change
		ok      bool
	}{
		{nil, true},
		{[]pal.Change{{Name: "a", Data: one}, {Name: "b"}}, true},
		{[]pal.Change{{Name: "a", Data: one}, {Name: "a"}}, false},
		{[]pal.Change{{Name: "a", Data: []byte{}}}, false},
		{[]pal.Change{{Name: "A"}}, false},
	} {
		if err := pal.CheckBatch(tt.changes); (err == nil) != tt.ok {
			t.Errorf("CheckBatch(%v) = %v", tt.changes, err)
		}
	}
}
