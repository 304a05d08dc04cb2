# Everything a developer or a build machine does with these modules.
# `make` alone lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# cgo compiles with gcc unless it is told otherwise, while make's own default
# is cc; both have to mean the same compiler, or cwarn would judge another one.
ifeq ($(origin CC),default)
CC := gcc
endif
export CC

# The packages to work on (work: those of all modules in go.work), more flags
# for go test, and its time limit.
PKGS      ?= work
TESTFLAGS ?=
TIMEOUT   ?= 10m
BENCH     ?= .
FUZZTIME  ?= 30s
SOAK      ?= 30m
WALKSTEPS ?= 12000000
# The Debian suite of test-openssl: bookworm, trixie, sid or sid+experimental.
SUITE     ?= trixie
# The Debian suite of test-ktls's kernel; empty is this machine's.
KERNEL    ?=
# The arguments that `make run` hands to the daemon.
ARGS      ?=

GOTEST     = go test -timeout $(TIMEOUT)
# The tools are no part of the workspace.
GOTOOL     = GOWORK=off go tool -modfile=tools/go.mod
# staticcheck itself works in the workspace.
STATIC     = $$($(GOTOOL) -n staticcheck)

CWARNFLAGS = -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror

# The leak check runs when a test binary ends with success. The environment's
# own options come last, so that they can override these.
ASANOPTS   = detect_leaks=1$(if $(ASAN_OPTIONS),:$(ASAN_OPTIONS))

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@echo 'Targets:'
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'Variables: PKGS=work TESTFLAGS= TIMEOUT=10m BENCH=. FUZZTIME=30s SOAK=30m WALKSTEPS=12000000 SUITE=trixie KERNEL= ARGS='

# What runs the tests also wants the programs that they talk to.
test test-long race asan peers scan fleet reliability: export PEERS_AND_SCANNERS := 1

.PHONY: deps
deps: ## check for the compiler, OpenSSL and the rest; install what is missing
	@scripts/deps

.PHONY: build
build: deps ## build bin/sslecho and bin/sslbench
	go build -o bin/ ./cmd/sslecho ./cmd/sslbench

# A Debian package, a tarball, a list of components (SBOM) and checksums; the same commit gives the same bytes. MAINTAINER= is who
# the package names.
.PHONY: dist
dist: deps ## build a Debian package, a tarball, an SBOM and their checksums in bin/dist
	go run ./internal/dist

# The rest is in the cache after the first time, so that all tests run this one too; see docs/operate/sslecho.md.
.PHONY: dist-test
dist-test: deps ## install, run and purge the package in a fresh Debian root file system (needs root)
	DIST=full $(GOTEST) -v -count=1 $(TESTFLAGS) ./internal/dist

# The libraries once more at the end: others of theirs come behind them. What is lost: docs/operate/sslecho.md.
STATICBIN ?= bin/sslecho-static
.PHONY: static
static: deps ## build bin/sslecho-static, which needs no library at all
	go build -tags netgo,osusergo -ldflags "-linkmode=external \
		-extldflags '-static $$(pkg-config --static --libs openssl)'" -o $(STATICBIN) ./cmd/sslecho

.PHONY: run
run: deps ## build bin/sslecho alone, and start it with ARGS
	go build -o bin/ ./cmd/sslecho
	@exec bin/sslecho $(ARGS)

# Half of the time is spent in waiting, so more packages than cores are tested at once, and first those that wait longest.
test: FIRST = $(if $(filter work,$(PKGS)),./cmd/sslecho ./cmd/sslbench/internal/load ./internal/fleet)
.PHONY: test
test: deps ## run all tests, the long ones in their short form
	$(GOTEST) -short -p 4 $(TESTFLAGS) $(FIRST) $(PKGS)

.PHONY: test-long
test-long: deps ## run all tests in full; race and asan do too
	$(GOTEST) $(TESTFLAGS) $(PKGS)

# Outside of the workspace the root's next version is not there yet.
.PHONY: tidy
tidy: deps ## run go mod tidy in each module
	@for dir in $$(go list -m -f '{{.Dir}}') tools; do ( \
		set -x; cd "$$dir"; export GOWORK=off; \
		for module in '' /adapters/prommetrics /adapters/proxyproto /adapters/sslgnet /adapters/sslgrpc /adapters/sslnetpoll; do \
			[ "$$PWD" = '$(CURDIR)' ] || go mod edit -replace "github.com/spacemonad/go-openssl$$module=$(CURDIR)$$module"; \
		done; \
		status=0; go mod tidy || status=$$?; \
		go mod edit -dropreplace github.com/spacemonad/go-openssl -dropreplace github.com/spacemonad/go-openssl/adapters/prommetrics \
			-dropreplace github.com/spacemonad/go-openssl/adapters/proxyproto \
			-dropreplace github.com/spacemonad/go-openssl/adapters/sslgnet \
			-dropreplace github.com/spacemonad/go-openssl/adapters/sslgrpc \
			-dropreplace github.com/spacemonad/go-openssl/adapters/sslnetpoll; \
		exit $$status \
	); done

# The root file system is made once, outside the tree; scripts/suite says how and where, and which suites there are.
.PHONY: test-openssl
test-openssl: deps ## run all tests with the OpenSSL of Debian's SUITE=trixie, in a root file system that it makes (needs root)
	scripts/suite $(SUITE) $(GOTEST) $(TESTFLAGS) $(PKGS)

# What does not compile for arm64 fails too. Under qemu all takes twenty times as long, and a test cannot start its own binary, so the
# tests of cssl are a choice. 69 is
# scripts/suite's status where there can be no root file system.
ARM64 = tests=$$0; go build -o /dev/null ./cmd/sslecho && go vet ./reactor ./sslnet && \
	$(GOTEST) -exec qemu-aarch64 -short -count=1 $(TESTFLAGS) ./tlsio ./session && \
	$(GOTEST) -exec qemu-aarch64 -short -count=1 $(TESTFLAGS) -run "$$tests" ./cssl
.PHONY: test-arm64
test-arm64: deps ## cross-build for arm64 and run some tests under qemu-aarch64, in a root file system that it makes (needs root)
	@scripts/suite arm64 env GOARCH=arm64 CGO_ENABLED=1 CC=aarch64-linux-gnu-gcc PKG_CONFIG_PATH=/usr/lib/aarch64-linux-gnu/pkgconfig \
		sh -c '$(ARM64)' 'Staple|PSK|ParkedWrite|EarlyExporter|CANames|KeyShares|AcrossNames|ShutdownRefused' || \
		{ status=$$?; [ $$status = 69 ] && echo 'test-arm64: skipped, for the reason above' || exit $$status; }

.PHONY: test-ktls
test-ktls: deps ## test kernel TLS in a guest under qemu, with the kernel of Debian's suite KERNEL=
	KERNEL=$(KERNEL) scripts/ktls -test.v '-test.run=Kernel|ReadFromFile' ./cssl ./sslnet ./reactor

.PHONY: check
check: deps fmt-check vet lint cwarn workflows vuln api direct race asan checkptr nocgo vet-certs ## run every check: format, vet, lint, C warnings, API, direct records, race, asan, pointers, no-cgo
	@echo 'check: all passed'

# -count=1 because go test's cache does not see RECORDS. Package testmain does.
DIRECT = ./cssl ./session ./reactor ./reactor/internal/faults ./sslnet/... ./internal/walk ./internal/conformance ./internal/interop ./internal/fuzz ./internal/link \
	./examples/... ./adapters/prommetrics ./adapters/proxyproto ./adapters/sslgnet ./adapters/sslgrpc ./adapters/sslnetpoll ./cmd/sslecho/...
.PHONY: direct
direct: deps ## run the tests of connections, in their short form, with direct records on all servers
	RECORDS=direct $(GOTEST) -short -count=1 $(TESTFLAGS) $(DIRECT)

.PHONY: fmt-check
fmt-check: deps ## fail when a Go file is not formatted
	@files=$$(gofmt -l .); \
	if [ -n "$$files" ]; then echo "not formatted (run gofmt -w):"; echo "$$files"; exit 1; fi
	@echo 'fmt-check: all formatted'

.PHONY: vet
vet: deps ## run go vet
	go vet $(PKGS)
	go vet -tags valgrind ./reactor/internal/soak

.PHONY: vet-certs
vet-certs: deps ## run go vet on the certificate generator, which ./... leaves out
	go vet ./testdata/certs

.PHONY: lint
lint: deps ## run staticcheck
	$(STATIC) $(PKGS) ./testdata/certs

# Files of GitHub's format, which nothing else here reads.
.PHONY: workflows
workflows: deps ## check .github/workflows
	$(GOTOOL) actionlint

# Without the network there is no database. Then this says so, and passes.
.PHONY: vuln
vuln: deps ## look for known vulnerabilities in what is called (needs the network)
	@if ! curl --silent --fail --max-time 10 --output /dev/null https://vuln.go.dev/index/db.json; then \
		echo 'vuln: skipped: https://vuln.go.dev is not in reach'; exit; \
	fi; \
	$$($(GOTOOL) -n govulncheck) $(PKGS)

# BASE is a commit or tag; before there is a tag, nothing is compared.
BASE ?= $(shell git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null)
.PHONY: api
api: deps ## list what has changed in the exported API since BASE, the newest tag
	@if [ -z '$(BASE)' ]; then echo 'api: nothing to compare with: there is no tag (or say BASE=COMMIT)'; exit; fi; \
	old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; \
	git archive '$(BASE)' | tar -x -C "$$old"; \
	tool=$$($(GOTOOL) -n apidiff); \
	(cd "$$old" && GOWORK=off "$$tool" -m -w api github.com/spacemonad/go-openssl); \
	GOWORK=off "$$tool" -m "$$old/api" github.com/spacemonad/go-openssl

.PHONY: cwarn
cwarn: deps ## compile the C files with warnings as errors
	@cflags=$$(pkg-config --cflags openssl); \
	files=$$(find cssl cmd reactor internal -name '*.c' 2>/dev/null | sort || true); \
	if [ -z "$$files" ]; then echo 'cwarn: skipped, there is no .c file in cssl/, cmd/, reactor/ or internal/'; fi; \
	for f in $$files; do \
		echo "cwarn: $$f"; \
		$(CC) $(CWARNFLAGS) -I"$$(dirname "$$f")" $$cflags -fsyntax-only "$$f"; \
	done

.PHONY: race
race: deps ## run all tests with the race detector
	$(GOTEST) -race $(TESTFLAGS) $(PKGS)

# -count=1 because go test does not see ASAN_OPTIONS change, and would answer
# with a result that it remembers from a run without the leak check. netpoll keeps
# a pointer in an epoll event, which is not aligned as checkptr demands: it alone
# is left out of that check.
.PHONY: asan
asan: deps ## run all tests with the address sanitizer and its leak check
	ASAN_OPTIONS='$(ASANOPTS)' $(GOTEST) -asan -gcflags=github.com/cloudwego/netpoll=-d=checkptr=0 -count=1 $(TESTFLAGS) $(PKGS)

# The race detector and the address sanitizer imply -d=checkptr=1. Level 2 also takes what becomes an
# unsafe.Pointer from the stack to the heap, where it can be checked; and cgocheck2 looks at each store of a Go pointer into
# memory of C, where GODEBUG=cgocheck=1, which is the default, looks at the arguments of calls alone.
CHECKPTR = -gcflags=all=-d=checkptr=2
.PHONY: checkptr
checkptr: deps ## test what uses cgo and unsafe with Go's strictest pointer checks
	GOEXPERIMENT=cgocheck2 $(GOTEST) $(CHECKPTR) $(TESTFLAGS) ./cssl ./reactor

.PHONY: valgrind
valgrind: export VALGRIND := 1
valgrind: deps ## a part of the tests of cssl and reactor under valgrind, which it installs if need be
	FIGURES=write go test -timeout 30m -tags valgrind -count=1 -v -run '^TestValgrind$$' ./reactor/internal/soak

# Both are pure Go; without cgo they would not even compile if they touched
# the C side.
.PHONY: nocgo
nocgo: deps ## vet and test ./tlsio and ./session without cgo
	CGO_ENABLED=0 go vet ./tlsio ./session
	CGO_ENABLED=0 $(GOTEST) $(TESTFLAGS) ./tlsio ./session

# The ordinary tests have its short form.
.PHONY: exhaustive
exhaustive: deps ## follow every sequence through package session and through sslnet's waits (minutes)
	CGO_ENABLED=0 FIGURES=write $(GOTEST) -count=1 -v -run '^TestExhaustive$$' $(TESTFLAGS) ./session -exhaustive
	FIGURES=write $(GOTEST) -count=1 -v -run '^TestModel$$' $(TESTFLAGS) ./sslnet -exhaustive

.PHONY: mutations
mutations: deps ## break packages session and cssl, and plain text in reactor, in many ways and demand that tests see each
	FIGURES=write go run ./internal/mutants $(ARGS)

# The ordinary tests have its short form.
.PHONY: walk
walk: deps ## lead pairs of real connections through WALKSTEPS random steps (4 minutes)
	FIGURES=write $(GOTEST) -count=1 -v -run '^TestWalk$$' $(TESTFLAGS) ./internal/walk -steps=$(WALKSTEPS)

.PHONY: bench
bench: deps ## run all benchmarks, or those that BENCH= matches
	$(GOTEST) -run '^$$' -bench '$(BENCH)' -benchmem $(TESTFLAGS) $(PKGS)

# QUICK=1 takes two minutes instead of about 20, and leaves docs/bench alone. Two cores, and nothing else on them.
.PHONY: bench-compare
bench-compare: build ## measure sslecho beside other servers, report to docs/bench (QUICK=1: bin/bench)
	bin/sslbench compare --out $(if $(QUICK),bin/bench --quick,docs/bench)

# `make test` has its short form.
.PHONY: soak
soak: deps ## all services, reloads and faults under mixed load for SOAK=30m, watching all that could grow
	SOAK=$(SOAK) FIGURES=write go test -timeout 0 -count=1 -v -run '^TestSoak$$' $(TESTFLAGS) ./reactor/internal/soak

# `make test` tries each errno at a few calls only; this tries all at all.
.PHONY: faults
faults: deps ## each fault of the kernel and of malloc at each call of a connection's life
	FAULTS=full FIGURES=write $(GOTEST) -v -count=1 $(TESTFLAGS) ./reactor/internal/faults

# `make test` has its short form. STRESS_TIME=3m shortens the ten minutes of 20,000 connections.
.PHONY: stress
stress: deps ## 20,000 busy and 100,000 idle connections, slowloris, floods (about 20 minutes)
	STRESS=full FIGURES=write $(GOTEST) -timeout 60m -v -count=1 $(TESTFLAGS) ./cmd/sslbench/internal/stress

# Needs root: it makes network namespaces.
.PHONY: networks
networks: deps ## slow, cut and resetting links between two network namespaces (a minute)
	NETWORKS=full FIGURES=write $(GOTEST) -v -count=1 $(TESTFLAGS) ./internal/link

# Needs root and haproxy. `make test` has the short form.
.PHONY: fleet
fleet: deps ## three sslecho behind HAProxy: tickets, rotation, losses, rolling upgrades, and what all costs (3 minutes)
	FLEET=full FIGURES=write $(GOTEST) -v -count=1 $(TESTFLAGS) ./internal/fleet

.PHONY: peers
peers: deps ## OpenSSL, GnuTLS, NSS and crypto/tls as clients and servers of ours
	PEERS=full FIGURES=write $(GOTEST) -v -count=1 $(TESTFLAGS) ./internal/interop

.PHONY: scan
scan: deps ## sslscan and testssl.sh against sslecho's defaults, reports to docs/scan (minutes)
	SCAN=full FIGURES=write $(GOTEST) -v -count=1 -run '^(TestSSLScan|TestTestSSL)$$' $(TESTFLAGS) ./internal/interop

# `make test` has both once, with less data.
.PHONY: blocking
blocking: deps ## net.Conn's contract 100 times under the race detector, a gigabyte through net/http (15 minutes)
	go test -timeout 60m -race -count=100 -run '^TestConn$$' ./internal/conformance
	FIGURES=write go run ./internal/figures/record sslnet-conn '100 times in a row under the race detector, none failed'
	HTTP_FULL=1 $(GOTEST) -count=1 -v -run '^TestBig$$' ./sslnet/sslhttp
	FIGURES=write go run ./internal/figures/record sslnet-big '1 GB each way, in each protocol, from each client'

.PHONY: reliability
reliability: exhaustive mutations faults walk fuzz valgrind networks fleet peers scan blocking stress soak ## all of these, for docs/design/results.txt (two hours)

.PHONY: certs
certs: deps ## make testdata/certs anew
	go run ./testdata/certs

# The figure is the sum of what each fuzz test executed; a crash ends the run before it is written. While a worker
# makes an input smaller it tries nothing else, and by default it may for a minute: most of the run.
.PHONY: fuzz
fuzz: deps ## run each fuzz test for FUZZTIME
	@found=$$(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort || true); \
	if [ -z "$$found" ]; then echo 'fuzz: there are no fuzz tests'; exit; fi; \
	log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	while IFS=: read -r file _ func; do \
		name=$${func#func }; dir=$$(dirname "$$file"); \
		echo "fuzz: $$name in $$dir for $(FUZZTIME)"; \
		$(GOTEST) -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$dir" </dev/null; \
	done <<<"$$found" | tee "$$log"; \
	FIGURES=write go run ./internal/figures/record fuzz "$$(awk ' \
		/^fuzz: Fuzz/ { all += last; last = 0; tests++ } \
		match($$0, /execs: [0-9]+/) { last = substr($$0, RSTART + 7, RLENGTH - 7) } \
		END { printf "%d fuzz tests, %.1f million executions, no crash", tests, (all + last) / 1e6 }' "$$log")"

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
	rm -f coverage coverage.*
	find . -name .git -prune -o \( -name '*.test' -o -name '*.prof' \) -type f -exec rm -f {} +
