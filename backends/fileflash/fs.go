package fileflash

// An FS is what a store needs of a directory. Open uses the operating system's;
// another can be given to OpenFS. Names are plain file names. Errors are, or
// wrap, fs.ErrNotExist, syscall.ENOSPC, EROFS and so on.
type FS interface {
	// OpenFile opens a file, with os.O_RDONLY, with os.O_RDWR, or with os.O_RDWR,
	// os.O_CREATE and os.O_EXCL together. It does not follow symbolic links, and
	// makes files that only the user can read.
	OpenFile(name string, flag int) (File, error)
	// Current reports whether f is the file of that name.
	Current(name string, f File) (bool, error)
	// Rename gives a file the name of another, which is replaced.
	Rename(from, to string) error
	// Remove deletes a file.
	Remove(name string) error
	// Names lists the directory.
	Names() ([]string, error)
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
	// Writable returns nil if files can be made, else why not.
	Writable() error
	// Lock waits until no other FS value of the same directory, in this process
	// or another, holds its lock. The lock of a process that dies is released.
	Lock() (unlock func() error, err error)
	// Close releases what the FS holds, but no files.
	Close() error
}

// A File is an open file. WriteAt beyond the end extends it. It is an alias so
// that an FS can be written without this package.
type File = interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	// Sync makes the content and the size durable, not the name.
	Sync() error
	// Status returns the size, and whether a name still leads to the file. It
	// is called often and costs at most a system call.
	Status() (size int64, linked bool, err error)
	Close() error
}

// A namedFS is an FS that answers Status and Current in one call.
type namedFS interface {
	FS
	// NamedStatus returns the size of f, and whether f is the file of that name.
	NamedStatus(name string, f File) (size int64, current bool, err error)
}

// A datedFile is a File of a system that notes the time of each change, be it to
// content or to names, and does not let programs choose it.
type datedFile interface {
	File
	// DatedStatus is Status with the time of the last change as Unix nanoseconds.
	// It is 0 if that is not known.
	DatedStatus() (size int64, linked bool, changed int64, err error)
}
