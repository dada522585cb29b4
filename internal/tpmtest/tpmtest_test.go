package tpmtest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"
)

func random(t *testing.T, tpm transport.TPM) []byte {
	t.Helper()
	r, err := tpm2.GetRandom{BytesRequested: 16}.Execute(tpm)
	require.NoError(t, err)
	return r.RandomBytes.Buffer
}

func primary(t *testing.T, tpm transport.TPM) *tpm2.CreatePrimaryResponse {
	t.Helper()
	r, err := createPrimary(tpm)
	require.NoError(t, err)
	return r
}

func createPrimary(tpm transport.TPM) (*tpm2.CreatePrimaryResponse, error) {
	return tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(tpm)
}

func TestSoftwareTPM(t *testing.T) {
	t.Parallel()
	tpm := Start(t)
	require.NotEqual(t, random(t, tpm), random(t, tpm))

	srk := primary(t, tpm)
	_, err := tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     tpm2.NamedHandle{Handle: srk.ObjectHandle, Name: srk.Name},
		PersistentHandle: 0x81000001,
	}.Execute(tpm)
	require.NoError(t, err)
	loaded, err := Loaded(tpm)
	require.NoError(t, err)
	require.Equal(t, []tpm2.TPMHandle{srk.ObjectHandle}, loaded)

	t.Log("a reset under the connection loses what is loaded")
	tpm.Reset(false)
	_, err = tpm2.GetRandom{BytesRequested: 8}.Execute(tpm)
	require.ErrorIs(t, err, tpm2.TPMRCInitialize)
	tpm.Reset(true)
	loaded, err = Loaded(tpm)
	require.NoError(t, err)
	require.Empty(t, loaded)

	t.Log("after the power was cut persistent objects are there")
	tpm.Restart()
	persistent, err := Persistent(tpm)
	require.NoError(t, err)
	require.Equal(t, []tpm2.TPMHandle{0x81000001}, persistent)

	t.Log("another TPM has none")
	tpm.Wipe()
	persistent, err = Persistent(tpm)
	require.NoError(t, err)
	require.Empty(t, persistent)

	tpm.Kill()
	_, err = os.Stat(tpm.Dir())
	require.NoError(t, err)
}

func TestState(t *testing.T) {
	t.Parallel()
	tpm := Start(t)
	name := primary(t, tpm).Name
	same := StartConfig(t, Config{State: tpm.State()})
	require.Equal(t, name, primary(t, same).Name)
	require.NotEqual(t, name, primary(t, Start(t)).Name)
}

func TestOtherProgramsReachIt(t *testing.T) {
	t.Parallel()
	getcap := need.Program(t, "tpm2_getcap", "tpm2-tools")
	tpm := Start(t)
	tpm.Disconnect()
	command := proc.Command(t, getcap, "properties-fixed")
	command.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+tpm.TCTI())
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "TPM2_PT_MANUFACTURER")
}

func TestEndorsed(t *testing.T) {
	t.Parallel()
	tpm := StartConfig(t, Config{Endorsed: true})
	persistent, err := Persistent(tpm)
	require.NoError(t, err)
	require.Contains(t, persistent, tpm2.TPMHandle(0x81010001))
	_, err = tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(0x01C00002)}.Execute(tpm)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(tpm.Authority()), "BEGIN CERTIFICATE"))
}

func TestLockout(t *testing.T) {
	t.Parallel()
	tpm := Start(t)
	require.NoError(t, SetLockout(tpm, 20, 1000, 1000))
	r, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTMaxAuthFail), PropertyCount: 1}.Execute(tpm)
	require.NoError(t, err)
	properties, err := r.CapabilityData.Data.TPMProperties()
	require.NoError(t, err)
	require.EqualValues(t, 20, properties.TPMProperty[0].Value)
}

func TestManager(t *testing.T) {
	t.Parallel()
	tpm := Start(t)
	bus := NewSpy(tpm)
	manager := NewManager(bus)
	manager.Slots = 2
	one, two := manager.Open(), manager.Open()
	random(t, one)

	a := primary(t, one)
	require.Equal(t, tpm2.TPMHandle(0x80FFFFFF), a.ObjectHandle)
	require.Equal(t, tpm2.TPMHandle(0x80FFFFFE), primary(t, one).ObjectHandle)
	require.Equal(t, tpm2.TPMHandle(0x80FFFFFF), primary(t, two).ObjectHandle, "handles of another user")

	t.Log("between commands the TPM is empty")
	loaded, err := Loaded(tpm)
	require.NoError(t, err)
	require.Empty(t, loaded)

	t.Log("a user sees his own objects only")
	own, err := Loaded(one)
	require.NoError(t, err)
	require.Equal(t, []tpm2.TPMHandle{0x80FFFFFE, 0x80FFFFFF}, sorted(own))

	t.Log("everything is swapped for every command")
	bus.Forget()
	random(t, two)
	require.Equal(t, []string{"ContextLoad", "GetRandom", "ContextSave", "FlushContext"}, names(bus))

	t.Log("the object that has no slot leaves nothing behind")
	_, err = createPrimary(one)
	require.ErrorIs(t, err, syscall.ENOMEM)
	_, err = tpm2.ReadPublic{ObjectHandle: a.ObjectHandle}.Execute(one)
	require.ErrorIs(t, err, syscall.EINVAL, "an object after the overflow")

	t.Log("a handle that is not there is the kernel's error")
	_, err = tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x80FFFFF0)}.Execute(two)
	require.ErrorIs(t, err, syscall.EINVAL)

	t.Log("flushed is flushed")
	b := primary(t, two)
	_, err = tpm2.FlushContext{FlushHandle: b.ObjectHandle}.Execute(two)
	require.NoError(t, err, bus)
	_, err = tpm2.ReadPublic{ObjectHandle: b.ObjectHandle}.Execute(two)
	require.Error(t, err)

	t.Log("a command that the TPM lacks is refused by the manager")
	response, err := two.Send(message(tagNoSessions, 0x1FF))
	require.NoError(t, err)
	require.Equal(t, tpm2.TPMRC(0xB0143), ResponseCode(response))

	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
	_, err = one.Send(getRandom(1))
	require.Error(t, err)
}

func TestManagerKeepsSessions(t *testing.T) {
	t.Parallel()
	tpm := Start(t)
	manager := NewManager(tpm)
	manager.Slots = 2
	space := manager.Open()
	for range 2 {
		_, _, err := tpm2.HMACSession(space, tpm2.TPMAlgSHA256, 16)
		require.NoError(t, err)
	}
	_, _, err := tpm2.HMACSession(space, tpm2.TPMAlgSHA256, 16)
	require.ErrorIs(t, err, syscall.ENOMEM)
	loaded, err := Loaded(tpm)
	require.NoError(t, err)
	require.Empty(t, loaded, "the overflow ended all")

	session, closeSession, err := tpm2.HMACSession(space, tpm2.TPMAlgSHA256, 16, tpm2.AESEncryption(128, tpm2.EncryptOut))
	require.NoError(t, err)
	for range 3 {
		_, err = tpm2.GetRandom{BytesRequested: 16}.Execute(space, session)
		require.NoError(t, err)
	}
	require.NoError(t, closeSession())

	_, _, err = tpm2.HMACSession(space, tpm2.TPMAlgSHA256, 16)
	require.NoError(t, err)
	require.NoError(t, space.Close())
	loaded, err = Loaded(tpm)
	require.NoError(t, err)
	require.Empty(t, loaded, "a user who is gone has no sessions")
}

func TestHub(t *testing.T) {
	t.Parallel()
	tpm := Start(t)
	manager := NewManager(tpm)
	hub := NewHub(t, tpm, func() transport.TPM { return manager.Open() })
	for range 3 {
		conn, err := dial(hub.Socket())
		require.NoError(t, err)
		defer conn.Close()
		response, err := exchange(conn, getRandom(8))
		require.NoError(t, err)
		require.Equal(t, tpm2.TPMRCSuccess, ResponseCode(response))
	}
	hub.Hangup()
	conn, err := dial(hub.Socket())
	require.NoError(t, err)
	defer conn.Close()
	_, err = exchange(conn, getRandom(8))
	require.NoError(t, err)
}

func TestSpy(t *testing.T) {
	t.Parallel()
	spy := NewSpy(answer("\x80\x01\x00\x00\x00\x12\x00\x00\x00\x00the secret"))
	_, err := spy.Send(append(getRandom(8), "some other words"...))
	require.NoError(t, err)
	require.Equal(t, 1, spy.Count())
	require.Len(t, spy.Seen([]byte("secret")), 1)
	require.Len(t, spy.Seen([]byte("some other thing")), 1, "a part of it is enough")
	require.Empty(t, spy.Seen([]byte("Secret")))
	require.Empty(t, spy.Seen(nil))
	require.Contains(t, spy.String(), "GetRandom")
	spy.Forget()
	require.Zero(t, spy.Count())
}

func TestFaults(t *testing.T) {
	t.Parallel()
	ok := "\x80\x01\x00\x00\x00\x0c\x00\x00\x00\x00\x01\x02"
	lost := errors.New("lost")
	for name, test := range map[string]struct {
		fault Fault
		want  string
		err   error
	}{
		"code":           {Code(tpm2.TPMRCRetry), "\x80\x01\x00\x00\x00\x0a\x00\x00\x09\x22", nil},
		"lost command":   {LoseCommand(io.ErrUnexpectedEOF), "", io.ErrUnexpectedEOF},
		"lost response":  {LoseResponse(lost), "", lost},
		"cut":            {Cut(4), ok[:4], nil},
		"cut honestly":   {CutHonestly(1), "\x80\x01\x00\x00\x00\x0b\x00\x00\x00\x00\x01", nil},
		"first bit":      {Flip(0), "\x00" + ok[1:], nil},
		"last bit":       {Flip(-1), ok[:11] + "\x03", nil},
		"another answer": {Replace([]byte("x")), "x", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFaults(answer(ok))
			f.At(1, test.fault)
			for i := range 3 {
				got, err := f.Send(getRandom(1))
				if i == 1 {
					require.Equal(t, test.want, string(got))
					require.ErrorIs(t, err, test.err)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, ok, string(got))
			}
			require.Equal(t, 3, f.Count())
			require.Zero(t, f.Pending())
		})
	}
	f := NewFaults(answer(ok))
	f.On(tpm2.TPMCCSign, 2, Code(tpm2.TPMRCRetry))
	f.From(5, -1, Cut(0))
	require.Equal(t, 1, f.Pending())
	var lengths []int
	for _, cc := range []tpm2.TPMCC{tpm2.TPMCCSign, tpm2.TPMCCLoad, tpm2.TPMCCSign, tpm2.TPMCCSign, 0, 0, 0} {
		response, err := f.Send(message(tagNoSessions, uint32(cc)))
		require.NoError(t, err)
		lengths = append(lengths, len(response))
	}
	require.Equal(t, []int{10, 12, 10, 12, 12, 0, 0}, lengths)
}

// answer is a TPM that knows one answer.
type answer string

func (a answer) Send([]byte) ([]byte, error) { return bytes.Clone([]byte(a)), nil }

func names(spy *Spy) []string {
	var all []string
	for _, e := range spy.Exchanges() {
		all = append(all, CommandName(e.Code()))
	}
	return all
}

func sorted(handles []tpm2.TPMHandle) []tpm2.TPMHandle {
	if len(handles) == 2 && handles[0] > handles[1] {
		handles[0], handles[1] = handles[1], handles[0]
	}
	return handles
}
