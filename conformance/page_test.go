package conformance_test

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// twoReports are of a token that behaves and of one that has no RSA and a fault.
func twoReports(t *testing.T) (good, bad *conformance.Report) {
	t.Helper()
	target := vaultTarget()
	target.Name = "vault"
	good, err := conformance.Check(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	target = vaultTarget()
	target.Name = `liar <&"'>`
	target.Profile.RSA = false
	bad, err = conformance.Check(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range bad.Results {
		if bad.Results[i].Outcome == conformance.Pass {
			bad.Passed--
			bad.Failed++
			bad.Results[i].Outcome = conformance.Fail
			bad.Results[i].Failures = []conformance.Failure{{What: "the length of <a> signature", Call: "Sign(32 bytes, nil)", Got: "63\x01", Want: "64"}}
			break
		}
	}
	if bad.Failed == 0 || bad.Skipped == 0 {
		t.Fatalf("%d failed, %d skipped: the report has not what the page is to show", bad.Failed, bad.Skipped)
	}
	return good, bad
}

func TestHTMLInABrowser(t *testing.T) {
	chromium := need.Program(t, "chromium", "chromium")
	good, bad := twoReports(t)
	var page bytes.Buffer
	if err := conformance.WriteHTML(&page, good, bad); err != nil {
		t.Fatal(err)
	}
	if outside := regexp.MustCompile(`(?i)(src|href)=|url\(|@import`).FindString(page.String()); outside != "" {
		t.Errorf("the page loads something: %s", outside)
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		// A helper of the browser may write a little longer than the browser runs.
		for end := time.Now().Add(time.Minute); os.RemoveAll(filepath.Join(dir, "profile")) != nil && time.Now().Before(end); {
			runtime.Gosched()
		}
	})
	file := filepath.Join(dir, "report.html")
	if err := os.WriteFile(file, page.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(fragment string) string {
		t.Helper()
		cmd := proc.Command(t, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--user-data-dir="+filepath.Join(dir, "profile"), "--dump-dom", "file://"+file+"#"+fragment)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("chromium: %v", err)
		}
		return string(out)
	}
	shown := func(dom string) string {
		m := regexp.MustCompile(`<span id="shown">([^<]*)</span>`).FindStringSubmatch(dom)
		if m == nil {
			t.Fatal("the page's script did not run")
		}
		return m[1]
	}
	dom := look("")
	if got, want := shown(dom), regexp.MustCompile(`^(\d+) of (\d+) cases$`).FindStringSubmatch(shown(dom)); want == nil || want[1] != want[2] || want[1] == "0" {
		t.Errorf("without a search the page shows %q", got)
	}
	for _, want := range []string{"liar &lt;&amp;", "the length of &lt;a&gt; signature", "got   63", "want  64", `class="fail">1 failed`, "PKCS11_EC_Sign"} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if got := shown(look("%3Ca%3E%20signature")); !strings.HasPrefix(got, "1 of ") {
		t.Errorf("a search for the failure shows %q", got)
	}
	if dom := look("nothing%20like%20this"); !strings.HasPrefix(shown(dom), "0 of ") || !strings.Contains(dom, `id="none" style="display: block;"`) {
		t.Errorf("a search for nothing shows %q", shown(dom))
	}
}

func TestJUnit(t *testing.T) {
	_, bad := twoReports(t)
	var b bytes.Buffer
	if err := bad.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Skipped  int    `xml:"skipped,attr"`
			Cases    []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != len(bad.Results) || got.Failures != bad.Failed || got.Skipped != bad.Skipped {
		t.Errorf("%d tests, %d failures, %d skipped; want %d, %d, %d", got.Tests, got.Failures, got.Skipped, len(bad.Results), bad.Failed, bad.Skipped)
	}
	var tests, failures, skipped int
	for _, s := range got.Suites {
		tests += s.Tests
		failures += s.Failures
		skipped += s.Skipped
		if s.Tests != len(s.Cases) {
			t.Errorf("suite %s says %d tests and has %d", s.Name, s.Tests, len(s.Cases))
		}
		for _, c := range s.Cases {
			if c.Failure != nil && (c.Failure.Message != "the length of <a> signature" || !strings.Contains(c.Failure.Text, "clause:")) {
				t.Errorf("%s: failure %q: %s", c.Name, c.Failure.Message, c.Failure.Text)
			}
			if c.Skipped != nil && c.Skipped.Message == "" {
				t.Errorf("%s is skipped without a reason", c.Name)
			}
		}
	}
	if tests != got.Tests || failures != got.Failures || skipped != got.Skipped {
		t.Errorf("the suites add up to %d, %d, %d", tests, failures, skipped)
	}
}
