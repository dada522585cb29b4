package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements of the JUnit XML that CI systems read: a suite for each family.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Skipped *junitSkipped `xml:"skipped"`
	Failure *junitFailure `xml:"failure"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML, which most CI systems show: a suite
// for each family, a failure with its clause and the calls made.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: r.Target, Tests: len(r.Results), Failures: r.Failed, Skipped: r.Skipped, Time: seconds(r.Duration)}
	at := map[string]int{}
	times := map[string]time.Duration{}
	for _, res := range r.Results {
		i, ok := at[res.Family]
		if !ok {
			i = len(all.Suites)
			at[res.Family] = i
			all.Suites = append(all.Suites, junitSuite{Name: res.Family, Timestamp: r.Start.UTC().Format("2006-01-02T15:04:05")})
		}
		s := &all.Suites[i]
		c := junitCase{Name: res.ID + ": " + res.Name, Class: r.Target + "." + res.Family, Time: seconds(res.Duration)}
		switch res.Outcome {
		case Fail:
			s.Failures++
			message := "failed"
			if len(res.Failures) > 0 {
				message = res.Failures[0].What
			}
			c.Failure = &junitFailure{Message: message, Text: printable(res.details())}
		case Skip:
			s.Skipped++
			c.Skipped = &junitSkipped{Message: res.Reason}
		}
		s.Tests++
		times[res.Family] += res.Duration
		s.Time = seconds(times[res.Family])
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// printable replaces what XML cannot hold.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' {
			return '·'
		}
		return c
	}, s)
}
