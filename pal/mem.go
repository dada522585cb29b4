package pal

import (
	"fmt"
	"io/fs"
	"sync"
)

// Mem is a Store in memory, for tests and for tokens that are to be forgotten.
// The zero value is empty and ready. It is safe for concurrent use, must not be
// copied, and is a [Batcher]. Records are wiped when they are removed or
// replaced.
type Mem struct {
	mu      sync.RWMutex
	records map[string][]byte
}

var _ Batcher = (*Mem)(nil)

// Save makes a copy of data the record of that name.
func (m *Mem) Save(name string, data []byte) error {
	if err := CheckRecord(name, data); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(name, data)
	return nil
}

// Load returns a copy of the record.
func (m *Mem) Load(name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	data, ok := m.records[name]
	if !ok {
		return nil, notExist(name)
	}
	return append([]byte(nil), data...), nil
}

// Remove wipes and forgets the record.
func (m *Mem) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[name]; !ok {
		return notExist(name)
	}
	m.set(name, nil)
	return nil
}

// Names returns the names of the records, in no order.
func (m *Mem) Names() ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	names := make([]string, 0, len(m.records))
	for name := range m.records {
		names = append(names, name)
	}
	return names, nil
}

// Batch makes all changes, or none if one of them is not valid.
func (m *Mem) Batch(changes []Change) error {
	if err := CheckBatch(changes); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		m.set(c.Name, c.Data)
	}
	return nil
}

// set replaces or, with nil data, removes a record.
func (m *Mem) set(name string, data []byte) {
	clear(m.records[name])
	if data == nil {
		delete(m.records, name)
		return
	}
	if m.records == nil {
		m.records = make(map[string][]byte)
	}
	m.records[name] = append([]byte(nil), data...)
}

// String says how many records there are, so that printing a Mem does not show
// them.
func (m *Mem) String() string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return fmt.Sprintf("pal.Mem(%d records)", len(m.records))
}

// GoString is String.
func (m *Mem) GoString() string { return m.String() }

func notExist(name string) error {
	return fmt.Errorf("pal: record %s: %w", name, fs.ErrNotExist)
}
