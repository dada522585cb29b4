package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
)

// version is set by the linker for releases: -ldflags '-X main.version=v1.2.3'.
var version string

var versionCommand = command{
	name:    "version",
	summary: "show the version of this program and the backends in it",
	local:   true,
	json: []field{
		{"version", ""}, {"go", "version of Go"}, {"platform", "such as linux/arm64"},
		{"backends", "array of the schemes that a token's name may begin with"},
	},
	example: []example{{"", "cryptoki version"}},
	flags: func(*options) runFunc {
		return func(_ context.Context, a *app, _ []string) error {
			v := struct {
				Version  string   `json:"version"`
				Go       string   `json:"go"`
				Platform string   `json:"platform"`
				Backends []string `json:"backends"`
			}{programVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, cryptoki.Schemes()}
			if a.json {
				return a.printJSON(v)
			}
			return a.printf("cryptoki %s, %s %s, backends: %s\n", v.Version, v.Go, v.Platform, strings.Join(v.Backends, ", "))
		}
	},
}

func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v += "-" + s.Value[:12]
			}
		}
	}
	return v
}
