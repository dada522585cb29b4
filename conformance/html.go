package conformance

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed page/report.css
var pageCSS string

//go:embed page/report.js
var pageJS string

// WriteHTML writes one page that shows reports side by side, a column each: how
// many cases of each family passed, and every case with its clause, and with
// what was got and wanted and the calls made where it failed. The page holds
// its styles and its script itself, loads nothing, and can be read without the
// script, which only searches.
func WriteHTML(w io.Writer, reports ...*Report) error {
	p := &page{reports: reports}
	p.put("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n")
	p.put("<title>PKCS #11 conformance</title>\n<style>\n%s</style>\n</head>\n<body>\n", raw(pageCSS))
	p.put("<h1>PKCS #11 conformance</h1>\n")
	p.tokens()
	p.matrix()
	p.skipped()
	p.cases()
	p.put("<script>\n%s</script>\n</body>\n</html>\n", raw(pageJS))
	_, err := w.Write(p.b.Bytes())
	return err
}

type page struct {
	b       bytes.Buffer
	reports []*Report
}

// raw is text that is HTML already.
type raw string

// put writes, with every string among args escaped.
func (p *page) put(format string, args ...any) {
	for i, a := range args {
		switch a := a.(type) {
		case raw:
			args[i] = string(a)
		case string:
			args[i] = html.EscapeString(a)
		}
	}
	fmt.Fprintf(&p.b, format, args...)
}

func (p *page) tokens() {
	for _, r := range p.reports {
		p.put("<dl>\n<dt>Token</dt><dd>%s</dd>\n<dt>Made by</dt><dd>%s %s, serial %s</dd>\n<dt>Profile</dt><dd>%s</dd>\n<dt>Run</dt><dd>%s, %s</dd>\n",
			r.Target, r.Token.Manufacturer, r.Token.Model, r.Token.Serial, r.Profile.String(), r.Start.UTC().Format("2006-01-02 15:04 MST"), r.Duration.Round(time.Millisecond).String())
		p.put("<dt>Result</dt><dd><span class=\"pass\">%d passed</span>, <span class=\"%s\">%d failed</span>, <span class=\"skip\">%d skipped</span></dd>\n</dl>\n",
			r.Passed, map[bool]string{true: "fail", false: "pass"}[r.Failed > 0], r.Failed, r.Skipped)
	}
}

// matrix is the table of families and tokens.
func (p *page) matrix() {
	var families []string
	counts := make([]map[string]*[3]int, len(p.reports))
	for i, r := range p.reports {
		counts[i] = map[string]*[3]int{}
		for _, res := range r.Results {
			if !slices.Contains(families, res.Family) {
				families = append(families, res.Family)
			}
			c := counts[i][res.Family]
			if c == nil {
				c = new([3]int)
				counts[i][res.Family] = c
			}
			c[slices.Index([]Outcome{Pass, Fail, Skip}, res.Outcome)]++
		}
	}
	p.put("<h2>Families</h2>\n<table id=\"matrix\">\n<thead><tr><th>Family</th>")
	for _, r := range p.reports {
		p.put("<th>%s</th>", r.Target)
	}
	p.put("</tr></thead>\n<tbody>\n")
	for _, f := range families {
		p.put("<tr><th>%s</th>", f)
		for i := range p.reports {
			c := counts[i][f]
			if c == nil {
				p.put("<td>–</td>")
				continue
			}
			p.put("<td class=\"n\">")
			if c[1] > 0 {
				p.put("<span class=\"fail\">%d failed</span> ", c[1])
			}
			if c[0] > 0 {
				p.put("<span class=\"pass\">%d passed</span> ", c[0])
			}
			if c[2] > 0 {
				p.put("<span class=\"skip\">%d skipped</span>", c[2])
			}
			p.put("</td>")
		}
		p.put("</tr>\n")
	}
	p.put("</tbody>\n</table>\n")
}

// skipped says what the tokens do not declare.
func (p *page) skipped() {
	type row struct {
		report int
		reason string
		cases  int
	}
	var rows []row
	for i, r := range p.reports {
		reasons := map[string][]string{}
		for _, res := range r.Results {
			if res.Outcome == Skip {
				reasons[res.Reason] = append(reasons[res.Reason], res.ID)
			}
		}
		for _, reason := range sortedKeys(reasons) {
			rows = append(rows, row{i, reason, len(reasons[reason])})
		}
	}
	if len(rows) == 0 {
		return
	}
	p.put("<h2>Not declared, so skipped</h2>\n<table>\n<thead><tr><th>Token</th><th>What</th><th>Cases</th></tr></thead>\n<tbody>\n")
	for _, r := range rows {
		p.put("<tr><td>%s</td><td>%s</td><td class=\"n\">%d</td></tr>\n", p.reports[r.report].Target, r.reason, r.cases)
	}
	p.put("</tbody>\n</table>\n")
}

// cases is the table of all cases.
func (p *page) cases() {
	var ids []string
	results := make([]map[string]Result, len(p.reports))
	for i, r := range p.reports {
		results[i] = make(map[string]Result, len(r.Results))
		for _, res := range r.Results {
			results[i][res.ID] = res
			if i == 0 || !slices.Contains(ids, res.ID) {
				ids = append(ids, res.ID)
			}
		}
	}
	p.put("<h2>Cases</h2>\n<div id=\"bar\"><input id=\"q\" type=\"search\" placeholder=\"Search: a function, a code, a clause, an ancestor\" aria-label=\"Search\">\n")
	p.put("<button data-want=\"fail\" aria-pressed=\"false\">Failed</button> <button data-want=\"skip\" aria-pressed=\"false\">Skipped</button> <button data-want=\"pass\" aria-pressed=\"false\">Passed</button> <span id=\"shown\"></span></div>\n")
	p.put("<table id=\"cases\">\n<thead><tr><th>Case</th><th>Clause and ancestors</th>")
	for _, r := range p.reports {
		p.put("<th>%s</th>", r.Target)
	}
	p.put("</tr></thead>\n<tbody>\n")
	for _, id := range ids {
		var first Result
		var outcomes []string
		for i := range p.reports {
			if res, ok := results[i][id]; ok {
				if first.ID == "" {
					first = res
				}
				outcomes = append(outcomes, string(res.Outcome))
			}
		}
		p.put("<tr data-outcomes=\"%s\"><td><span class=\"id\">%s</span><br>%s", strings.Join(outcomes, " "), id, first.Name)
		for i, r := range p.reports {
			if res, ok := results[i][id]; ok && res.Outcome == Fail {
				p.put("<details open><summary class=\"fail\">%s</summary><pre>%s</pre></details>", r.Target, res.details())
			}
		}
		p.put("</td><td>%s", first.Clause)
		if len(first.Ancestors) > 0 {
			p.put("<br><small>%s</small>", strings.Join(first.Ancestors, ", "))
		}
		p.put("</td>")
		for i := range p.reports {
			res, ok := results[i][id]
			if !ok {
				p.put("<td>–</td>")
				continue
			}
			p.put("<td class=\"n\"><span class=\"%s\">%s</span>", string(res.Outcome), string(res.Outcome))
			if res.Reason != "" {
				p.put("<br><small>%s</small>", res.Reason)
			}
			p.put("</td>")
		}
		p.put("</tr>\n")
	}
	p.put("</tbody>\n</table>\n<p id=\"none\">No case matches.</p>\n")
}
