package server

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine has facts about the one that this runs on.
type Machine struct {
	CPU    string // model name
	Cores  int    // that are online, whether or not this process may use them
	Memory int64  // in bytes
	Kernel string // its name and release
}

// ThisMachine reads them from /proc.
func ThisMachine() (Machine, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Machine{}, err
	}
	m := parseCPUInfo(string(info))
	if m.Cores == 0 {
		return Machine{}, fmt.Errorf("/proc/cpuinfo has no processor")
	}
	if m.Memory, err = kilobytes("/proc/meminfo", "MemTotal:"); err != nil {
		return Machine{}, err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return Machine{}, err
	}
	m.Kernel = "Linux " + strings.TrimSpace(string(release))
	return m, nil
}

// parseCPUInfo finds the model and the number of cores. Arm kernels tell only the numbers of maker and part.
func parseCPUInfo(text string) Machine {
	var m Machine
	var maker, part string
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "processor":
			m.Cores++
		case "model name":
			m.CPU = value
		case "CPU implementer":
			maker = value
		case "CPU part":
			part = value
		}
	}
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
		if maker != "" {
			m.CPU += " (implementer " + maker + ", part " + part + ")"
		}
	}
	return m
}
