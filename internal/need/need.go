// Package need is how a test says what it needs of the machine: a program, a
// file, an ability. Where that is missing, the test fails if CI=true, and is
// skipped elsewhere, so that a run on a laptop is of use and no skip in CI hides
// that something was not tested.
package need

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// All reports whether everything must be there.
func All() bool { return os.Getenv("CI") == "true" }

// Missing ends a test for which something is missing. The text says what, and
// what can be done. It is called where it was asked for and refused, never for an
// error of what is tested.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	if All() {
		t.Fatal(text)
	}
	t.Skip(text)
}

// Program returns the path of a program. Debian has it in the package of that
// name, perhaps where an ordinary user's PATH does not look.
func Program(t testing.TB, name, debian string) string {
	t.Helper()
	for _, path := range []string{name, filepath.Join("/usr/sbin", name), filepath.Join("/sbin", name)} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	Missing(t, "%s is missing: apt-get install %s", name, debian)
	return ""
}

// File returns the first file that matches one of the patterns, as filepath.Glob
// reads them. Debian has it in the package of that name.
func File(t testing.TB, debian string, patterns ...string) string {
	t.Helper()
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if len(found) > 0 {
			return found[0]
		}
	}
	Missing(t, "%s is missing: apt-get install %s", patterns[0], debian)
	return ""
}

// Root is for tests that do what only root may: what, in words.
func Root(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "only root can %s: run this test as root", what)
	}
}
