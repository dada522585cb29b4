package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
)

// TestTPMStories runs what users want to do with a TPM: testdata/tpm. Each story
// has a TPM of its own. That of attestation.txt has certificates of a maker, whose
// roots are in roots.pem.
func TestTPMStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/tpm/*.txt")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, story := range stories {
		// What a maker does takes seconds; most stories do without.
		sim := tpmtest.StartConfig(t, tpmtest.Config{Endorsed: filepath.Base(story) == "attestation.txt"})
		sim.Disconnect()
		testscript.Run(t, testscript.Params{
			Files:               []string{story},
			RequireExplicitExec: true,
			RequireUniqueNames:  true,
			Setup: func(env *testscript.Env) error {
				env.Setenv("CRYPTOKI_TOKEN", "tpm:swtpm=unix:"+sim.Socket()+";create=true;dir="+filepath.Join(env.WorkDir, "token"))
				env.Setenv("CREDENTIALS_DIRECTORY", "")
				env.Setenv("TPM2OPENSSL_TCTI", sim.TCTI())
				if filepath.Base(story) != "attestation.txt" {
					return nil
				}
				return os.WriteFile(filepath.Join(env.WorkDir, "roots.pem"), sim.Authority(), 0o644)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"pin": cmdPIN,
				// lockoutauth text: sets the TPM's lockout authorization.
				"lockoutauth": func(ts *testscript.TestScript, neg bool, args []string) {
					if neg || len(args) != 1 {
						ts.Fatalf("usage: lockoutauth text")
					}
					_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHLockout, NewAuth: tpm2.TPM2BAuth{Buffer: []byte(args[0])}}.Execute(sim)
					sim.Disconnect()
					ts.Check(err)
				},
				"restart": func(*testscript.TestScript, bool, []string) { sim.Restart(); sim.Disconnect() },
				"wipe":    func(*testscript.TestScript, bool, []string) { sim.Wipe(); sim.Disconnect() },
				"provider": func(*testscript.TestScript, bool, []string) {
					tpmtest.NeedProvider(t)
				},
			},
		})
	}
}
