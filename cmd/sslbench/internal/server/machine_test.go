package server

import (
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	m, err := ThisMachine()
	if err != nil || m.CPU == "" || m.Cores < 1 || m.Memory < 1<<20 || len(m.Kernel) < len("Linux 1.0") {
		t.Errorf("%+v, %v", m, err)
	}
	for _, test := range []struct {
		text string
		want Machine
	}{
		{"processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n", Machine{CPU: "Some CPU @ 2 GHz", Cores: 2}},
		{"", Machine{}},
	} {
		got := parseCPUInfo(test.text)
		if test.want.CPU != "" && got != test.want || got.Cores != test.want.Cores {
			t.Errorf("%+v, want %+v", got, test.want)
		}
	}
	arm := parseCPUInfo("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")
	if arm.Cores != 1 || !strings.Contains(arm.CPU, "(implementer 0x41, part 0xd0c)") {
		t.Errorf("%+v", arm)
	}
}
