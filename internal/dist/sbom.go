package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// sbom lists the program's components: Go's library and modules, as cyclonedx-gomod reads them in the program, and the shared
// libraries of C, which it does not see.
func (d *dist) sbom() string {
	program := d.staged("sslecho")
	version := d.told.Version
	if version != "unknown" {
		version = "v" + version
	}
	list := run(tool("cyclonedx-gomod", "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", version, program))
	libraries := value(libraries(d.told.OpenSSL.Run, value(needsOf(program)).sonames))
	return d.result(d.name()+".cdx.json", value(addLibraries([]byte(list), libraries)))
}

// library is a shared library that the program was linked to, and the names of its files.
type library struct {
	name, version, licence, cpe string
	sonames                     []string
}

func (l library) ref() string { return fmt.Sprintf("pkg:generic/%s@%s", l.name, l.version) }

// libraries are those behind the sonames, in the versions of this machine, which the program was linked to.
func libraries(runs string, sonames []string) ([]library, error) {
	words := strings.Fields(runs) // OpenSSL 3.0.19 27 Jan 2026
	if len(words) < 2 {
		return nil, fmt.Errorf("sslecho version says %q of OpenSSL", runs)
	}
	libc := output("getconf", "GNU_LIBC_VERSION") // glibc 2.36
	openssl := library{name: "openssl", version: words[1], licence: "Apache-2.0"}
	openssl.cpe = "cpe:2.3:a:openssl:openssl:" + openssl.version + ":*:*:*:*:*:*:*"
	glibc := library{name: "glibc", version: strings.TrimPrefix(libc, "glibc "), licence: "LGPL-2.1-or-later"}
	glibc.cpe = "cpe:2.3:a:gnu:glibc:" + glibc.version + ":*:*:*:*:*:*:*"
	for _, s := range sonames {
		if strings.HasPrefix(s, "libssl.") || strings.HasPrefix(s, "libcrypto.") {
			openssl.sonames = append(openssl.sonames, s)
		} else {
			glibc.sonames = append(glibc.sonames, s) // libc.so, and what older versions had beside it
		}
	}
	return []library{openssl, glibc}, nil
}

// addLibraries puts libraries into a list of components, as what its main component depends on.
func addLibraries(list []byte, libraries []library) ([]byte, error) {
	var bom map[string]any
	if err := json.Unmarshal(list, &bom); err != nil {
		return nil, err
	}
	metadata, _ := bom["metadata"].(map[string]any)
	program, _ := metadata["component"].(map[string]any)
	components, _ := bom["components"].([]any)
	dependencies, _ := bom["dependencies"].([]any)
	var main map[string]any
	for _, d := range dependencies {
		if d, _ := d.(map[string]any); d["ref"] != nil && d["ref"] == program["bom-ref"] {
			main = d
		}
	}
	if main == nil {
		return nil, errors.New("cyclonedx-gomod's list does not say what the program depends on")
	}
	on, _ := main["dependsOn"].([]any)
	for _, l := range libraries {
		components = append(components, map[string]any{
			"type": "library", "bom-ref": l.ref(), "name": l.name, "version": l.version, "purl": l.ref(), "cpe": l.cpe,
			"licenses": []any{map[string]any{"license": map[string]any{"id": l.licence}}},
			"properties": []any{
				map[string]any{"name": "go-openssl:linkage", "value": "shared; the version is that of the system that built the program"},
				map[string]any{"name": "go-openssl:sonames", "value": strings.Join(l.sonames, " ")},
			},
		})
		dependencies = append(dependencies, map[string]any{"ref": l.ref()})
		on = append(on, l.ref())
	}
	main["dependsOn"] = on
	bom["components"], bom["dependencies"] = components, dependencies
	var b bytes.Buffer
	w := json.NewEncoder(&b)
	w.SetEscapeHTML(false)
	w.SetIndent("", "  ")
	err := w.Encode(bom)
	return b.Bytes(), err
}
