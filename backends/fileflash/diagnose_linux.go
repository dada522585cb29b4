package fileflash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Numbers of file systems, from statfs(2), that keep nothing or not here.
var (
	memoryTypes  = map[uint32]string{0x01021994: "tmpfs", 0x858458f6: "ramfs"}
	networkTypes = map[uint32]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x517b: "SMB", 0x65735546: "FUSE", 0x01021997: "9p", 0x5346414f: "AFS", 0x00c36400: "Ceph"}
)

const mountedReadOnly = 1 // ST_RDONLY

// mediumOf asks the kernel about the directory's file system and device.
func mediumOf(dir string, info *syscall.Stat_t) *medium {
	m := &medium{free: -1, size: -1, files: -1}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err == nil {
		m.memory, m.network = memoryTypes[uint32(st.Type)], networkTypes[uint32(st.Type)]
		m.readOnly = st.Flags&mountedReadOnly != 0
		free := st.Bavail
		if os.Geteuid() == 0 { // who may use the reserve
			free = st.Bfree
		}
		m.free, m.size = int64(free)*int64(st.Bsize), int64(st.Blocks)*int64(st.Bsize)
		if st.Files > 0 { // some make inodes as they need them
			m.files = int64(st.Ffree)
		}
	}
	if info != nil {
		m.wear("/sys", uint64(info.Dev))
	}
	return m
}

// wear reads what an eMMC says of its wear (JEDEC JESD84-B51, 7.4.46 and 7.4.47).
func (m *medium) wear(sys string, dev uint64) {
	link, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", fmt.Sprintf("%d:%d", major(dev), minor(dev))))
	if err != nil {
		return
	}
	// A partition is below its device.
	for _, block := range []string{link, filepath.Dir(link)} {
		life, err := os.ReadFile(filepath.Join(block, "device/life_time"))
		if err != nil {
			continue
		}
		m.device = filepath.Base(block)
		for word := range strings.FieldsSeq(string(life)) {
			m.life = max(m.life, hexNumber(word))
		}
		eol, _ := os.ReadFile(filepath.Join(block, "device/pre_eol_info"))
		m.eol = hexNumber(string(bytes.TrimSpace(eol)))
		return
	}
}

func hexNumber(s string) int {
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		return 0
	}
	return int(n)
}

func major(dev uint64) uint64 { return dev>>8&0xfff | dev>>32&^0xfff }
func minor(dev uint64) uint64 { return dev&0xff | dev>>12&^0xff }

// lockHolder names the process that holds flock(2) on an open file.
func lockHolder(f *os.File) string {
	const unknown = "another process"
	info, err := f.Stat()
	if err != nil {
		return unknown
	}
	st := info.Sys().(*syscall.Stat_t)
	file := fmt.Sprintf("%02x:%02x:%d", major(uint64(st.Dev)), minor(uint64(st.Dev)), st.Ino)
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 26058 fe:00:9978179 0 EOF
		w := strings.Fields(line)
		if len(w) < 6 || w[1] != "FLOCK" || w[5] != file {
			continue
		}
		comm, err := os.ReadFile("/proc/" + w[4] + "/comm")
		if err != nil {
			return "process " + w[4]
		}
		return fmt.Sprintf("process %s (%s)", w[4], strings.TrimSpace(string(comm)))
	}
	return unknown
}
