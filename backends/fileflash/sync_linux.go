package fileflash

import "syscall"

// Sync is fdatasync: of what is not content it makes durable what is needed to
// read that, and not, as fsync does, the time of the change, which every change
// makes another one.
func (f *osFile) Sync() error {
	for {
		err := syscall.Fdatasync(f.fd)
		if err != syscall.EINTR {
			return err
		}
	}
}
