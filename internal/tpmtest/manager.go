package tpmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"syscall"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// slots is how many objects, and how many sessions, one user of /dev/tpmrm0 may
// have. See TPM2_SPACE in Linux, drivers/char/tpm/tpm.h.
const slots = 3

// The kernel marks what it says in a TPM's stead with the number of the layer.
// See TSS 2.0 Overview, 3.
const layerResourceManager = 0x000B0000

// A Manager does what the resource manager in the Linux kernel does behind
// /dev/tpmrm0 (drivers/char/tpm/tpm2-space.c): each user has slots of its own and
// virtual handles; before each command all that the user owns is loaded, after it
// all is saved again. Errors are the kernel's error numbers.
type Manager struct {
	// Slots is how many objects, and how many sessions, a user may have: three,
	// as the kernel has it. libtpms has no more than three itself and refuses the
	// fourth before the kernel does; a test that wants to see the kernel's refusal
	// sets a smaller number before the first command.
	Slots int

	mu         sync.Mutex
	tpm        transport.TPM
	attributes map[tpm2.TPMCC]uint32 // by command code, TPMA_CC
}

// NewManager returns a Manager for tpm, which nobody else should use.
func NewManager(tpm transport.TPM) *Manager { return &Manager{Slots: slots, tpm: tpm} }

// Open opens the device once more.
func (m *Manager) Open() *Space { return &Space{m: m} }

// A Space is one open file of /dev/tpmrm0.
type Space struct {
	m        *Manager
	closed   bool
	objects  [slots]object
	sessions [slots]session
}

type object struct {
	used    bool
	handle  uint32 // while loaded
	context []byte // while saved
}

type session struct {
	handle  uint32 // 0 for none
	context []byte
}

// Send is a write and a read on the device.
func (s *Space) Send(command []byte) ([]byte, error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.closed {
		return nil, errors.New("file already closed")
	}
	if len(command) < headerSize || int64(binary.BigEndian.Uint32(command[2:])) != int64(len(command)) {
		return nil, syscall.EINVAL
	}
	if err := m.learn(); err != nil {
		return nil, err
	}
	command = bytes.Clone(command)
	cc := CommandCode(command)
	attributes, known := m.attributes[cc]
	if !known {
		return errorResponse(layerResourceManager | tpm2.TPMRCCommandCode), nil
	}
	handles := int(attributes >> 25 & 7)
	if cc == tpm2.TPMCCFlushContext || cc == tpm2.TPMCCContextSave {
		handles = 1 // the one of FlushContext is a parameter, but is translated
	}
	if len(command) < headerSize+4*handles {
		return nil, syscall.EINVAL
	}
	err := s.load()
	if err == nil {
		err = s.toPhysical(command[headerSize : headerSize+4*handles])
	}
	if err != nil {
		s.flush()
		return nil, err
	}
	response, err := m.transmit(command)
	if err != nil {
		s.flush()
		return nil, err
	}
	if attributes>>28&1 != 0 && ResponseCode(response) == tpm2.TPMRCSuccess && len(response) >= headerSize+4 {
		if err := s.toVirtual(response[headerSize:]); err != nil {
			s.flush()
			return nil, err
		}
	}
	if cc == tpm2.TPMCCGetCapability {
		response = s.filter(response)
	}
	if err := s.save(); err != nil {
		s.flush()
		return nil, err
	}
	return response, nil
}

// transmit sends a command again as long as the TPM does not start it, with all
// that the user owns loaded: the kernel does so for about two seconds
// (tpm_transmit in drivers/char/tpm/tpm-interface.c), and here it takes no time.
func (m *Manager) transmit(command []byte) ([]byte, error) {
	for tries := 1; ; tries++ {
		response, err := m.tpm.Send(bytes.Clone(command))
		if err != nil {
			return nil, err
		}
		switch ResponseCode(response) {
		case tpm2.TPMRCRetry, tpm2.TPMRCTesting:
			if tries < 7 {
				continue
			}
		}
		return bytes.Clone(response), nil
	}
}

// Close gives up all that this user had.
func (s *Space) Close() error {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if !s.closed {
		s.flush()
		s.closed = true
	}
	return nil
}

// learn reads which commands the TPM has, as the kernel does at start-up.
func (m *Manager) learn() error {
	if m.attributes != nil {
		return nil
	}
	list, err := capability(m.tpm, capCommands, 0x11F)
	if err != nil {
		return err
	}
	m.attributes = make(map[tpm2.TPMCC]uint32, len(list))
	for _, a := range list {
		m.attributes[tpm2.TPMCC(a&0x2000FFFF)] = a
	}
	return nil
}

// load brings everything back into the TPM. A session that the TPM does not know
// any more is forgotten; an object cannot be.
func (s *Space) load() error {
	for i := range s.objects {
		o := &s.objects[i]
		if !o.used {
			continue
		}
		handle, err := s.m.loadContext(o.context)
		if errors.Is(err, syscall.ENOENT) {
			*o = object{}
			continue
		}
		if err != nil {
			return err
		}
		o.handle = handle
	}
	for i := range s.sessions {
		c := &s.sessions[i]
		if c.handle == 0 {
			continue
		}
		handle, err := s.m.loadContext(c.context)
		if errors.Is(err, syscall.ENOENT) {
			*c = session{}
			continue
		}
		if err != nil {
			return err
		}
		if handle != c.handle {
			return syscall.EFAULT
		}
	}
	return nil
}

// save takes everything out of the TPM.
func (s *Space) save() error {
	for i := range s.objects {
		o := &s.objects[i]
		if !o.used || o.handle == 0 {
			continue
		}
		context, err := s.m.saveContext(o.handle)
		if errors.Is(err, syscall.ENOENT) {
			*o = object{}
			continue
		}
		if err != nil {
			return err
		}
		s.m.flushContext(o.handle)
		*o = object{used: true, context: context}
	}
	for i := range s.sessions {
		c := &s.sessions[i]
		if c.handle == 0 {
			continue
		}
		context, err := s.m.saveContext(c.handle)
		if errors.Is(err, syscall.ENOENT) {
			*c = session{}
			continue
		}
		if err != nil {
			return err
		}
		c.context = context
	}
	return nil
}

// flush forgets everything.
func (s *Space) flush() {
	for i := range s.objects {
		if s.objects[i].handle != 0 {
			s.m.flushContext(s.objects[i].handle)
		}
		s.objects[i] = object{}
	}
	for i := range s.sessions {
		if s.sessions[i].handle != 0 {
			s.m.flushContext(s.sessions[i].handle)
		}
		s.sessions[i] = session{}
	}
}

// virtual returns the handle that a user knows the object in a slot by.
func virtual(slot int) uint32 { return htTransient<<24 | 0xFFFFFF - uint32(slot) }

// toPhysical replaces the user's handles by the TPM's.
func (s *Space) toPhysical(handles []byte) error {
	for ; len(handles) >= 4; handles = handles[4:] {
		handle := binary.BigEndian.Uint32(handles)
		if handle>>24 != htTransient {
			continue
		}
		slot := int(0xFFFFFF - handle&0xFFFFFF)
		if slot >= slots || s.objects[slot].handle == 0 {
			return syscall.EINVAL
		}
		binary.BigEndian.PutUint32(handles, s.objects[slot].handle)
	}
	return nil
}

// toVirtual gives the object or session that a response brings a slot.
func (s *Space) toVirtual(body []byte) error {
	handle := binary.BigEndian.Uint32(body)
	switch handle >> 24 {
	case htTransient:
		for i := range s.m.Slots {
			if o := &s.objects[i]; !o.used {
				*o = object{used: true, handle: handle}
				binary.BigEndian.PutUint32(body, virtual(i))
				return nil
			}
		}
	case htHMACSession, htPolicySession:
		for i := range s.m.Slots {
			if c := &s.sessions[i]; c.handle == 0 {
				c.handle = handle
				return nil
			}
		}
	default:
		return nil
	}
	s.m.flushContext(handle)
	return syscall.ENOMEM
}

// filter makes a list of handles one of this user's objects.
func (s *Space) filter(response []byte) []byte {
	const list = headerSize + 9
	if ResponseCode(response) != tpm2.TPMRCSuccess || len(response) < list ||
		binary.BigEndian.Uint32(response[headerSize+1:]) != capHandles {
		return response
	}
	out := bytes.Clone(response[:list])
	for b := response[list:]; len(b) >= 4; b = b[4:] {
		handle := binary.BigEndian.Uint32(b)
		if handle>>24 != htTransient {
			out = append(out, b[:4]...)
			continue
		}
		for i := range s.objects {
			if s.objects[i].used && s.objects[i].handle == handle {
				out = binary.BigEndian.AppendUint32(out, virtual(i))
			}
		}
	}
	binary.BigEndian.PutUint32(out[2:], uint32(len(out)))
	binary.BigEndian.PutUint32(out[headerSize+5:], uint32(len(out)-list)/4)
	return out
}

// loadContext loads a saved context. Gone is ENOENT, everything else that the TPM
// minds is EFAULT.
func (m *Manager) loadContext(context []byte) (uint32, error) {
	body, err := do(m.tpm, message(tagNoSessions, uint32(tpm2.TPMCCContextLoad), context...))
	switch {
	case errors.Is(err, tpm2.TPMRCHandle), errors.Is(err, tpm2.TPMRCReferenceH0):
		return 0, syscall.ENOENT
	case err != nil:
		return 0, refused(err)
	case len(body) < 4:
		return 0, syscall.EFAULT
	}
	return binary.BigEndian.Uint32(body), nil
}

func (m *Manager) saveContext(handle uint32) ([]byte, error) {
	context, err := do(m.tpm, message(tagNoSessions, uint32(tpm2.TPMCCContextSave), words(handle)...))
	if errors.Is(err, tpm2.TPMRCReferenceH0) || errors.Is(err, tpm2.TPMRCHandle) {
		return nil, syscall.ENOENT
	}
	return bytes.Clone(context), refused(err)
}

func (m *Manager) flushContext(handle uint32) {
	do(m.tpm, message(tagNoSessions, uint32(tpm2.TPMCCFlushContext), words(handle)...))
}

// refused turns a response code into what the kernel makes of it.
func refused(err error) error {
	var rc tpm2.TPMRC
	if errors.As(err, &rc) {
		return syscall.EFAULT
	}
	return err
}
