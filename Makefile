# lighter_cache: `make help` lists the targets. Each can be the first one run on a fresh clone with Rust, a C and C++
# compiler and Python >= 3.11; what else it needs goes into .venv/ and .deps/ in the tree, with one line that says so.

PREFIX       ?= /usr/local
LIBDIR       ?= $(PREFIX)/lib
INCLUDEDIR   ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
CMAKEDIR     ?= $(LIBDIR)/cmake/lighter_cache
DESTDIR      ?=
PYTHON       ?= python3
CARGO        ?= cargo
INSTALL      ?= install

VERSION   := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
SOVERSION := $(shell sed -n 's/^const SOVERSION: u32 = \([0-9]*\);/\1/p' build.rs)
CBINDGEN_VERSION := 0.29.4

TARGET   := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
SHARED   := $(TARGET)/release/liblighter_cache.so
STATIC   := $(TARGET)/release/liblighter_cache.a
HEADER   := include/lighter_cache.h
CPPHEADER := bindings/cpp/include/lighter_cache.hpp
VENV     := .venv
VPYTHON  := $(VENV)/bin/python
CBINDGEN := .deps/cbindgen/bin/cbindgen
SONAME   := liblighter_cache.so.$(SOVERSION)
SOFILE   := liblighter_cache.so.$(VERSION)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all library demo test test-rust test-simulation test-chaos soak-hybrid test-c test-cpp test-python test-docs test-install header check-header check-exports \
	install uninstall wheel lint fmt bench bench-quick check-instructions instructions hit-ratio test-hit-ratio servers sanitize fuzz clean help

all: library ## Build the C library, shared and static (the default)
	@echo "built $(SHARED) and $(STATIC); the headers are $(HEADER) and $(CPPHEADER)"

library:
	$(CARGO) build --release --lib --locked

demo: library python-module servers ## See the product at work on real input, with progress and a table at the end
	$(VPYTHON) demo/demo.py --library $(TARGET)/release

# --- tests

test: check-header check-exports test-rust test-simulation test-c test-cpp test-python test-chaos test-docs test-install ## All tests, on real servers

test-rust: servers ## Tests of the Rust core
	$(CARGO) test --locked

# Quick schedules without the long build of a release: the library alone is optimised.
OPTIMISED := $(foreach set,opt-level=2 debug-assertions=false overflow-checks=true,--config profile.dev.package.lighter_cache.$(set))

# SIM_SCHEDULES: how many schedules; SIM_SEED: one of them again, with its steps.
test-simulation: ## The Hybrid's protocol in random schedules, and that each protection is needed
	$(if $(SIM_SEED),SIM_SEED=$(SIM_SEED)) $(if $(SIM_SCHEDULES),SIM_SCHEDULES=$(SIM_SCHEDULES)) $(CARGO) test --quiet \
	  --locked $(OPTIMISED) --lib hybrid::simulation $(if $(SIM_SEED),random_schedules) -- --nocapture --test-threads 1

test-c: library servers ## Tests of the C API, the header in every dialect, the C examples
	$(PYTHON) tests/run_native.py c --library $(TARGET)/release

test-cpp: library servers ## Tests of the C++ wrapper and its examples
	$(PYTHON) tests/run_native.py cpp --library $(TARGET)/release

test-python: python-module servers ## Tests of the Python package, the wire format and the test servers
	$(VPYTHON) -m pytest -q $(wildcard bindings/python/tests) tests/python tests/wire_format.py

test-chaos: library python-module servers ## Processes in C, C++ and Python under faults, on servers, a Cluster and behind Sentinels (SEED=... repeats)
	$(VPYTHON) tests/chaos/run.py --library $(TARGET)/release --seconds 5 $(if $(SEED),--seed $(SEED))

test-docs: library python-module servers ## The README's programs run as printed; links, targets and URLs in the documents exist
	$(PYTHON) tests/servers.py exec single $(VPYTHON) tests/readme.py --library $(TARGET)/release

test-install: library $(VENV)/.tools ## Install into an empty folder, build against it by pkg-config and CMake, uninstall
	$(PYTHON) tests/run_install.py

check-exports: library ## The library exports what tests/exports.txt lists, and nothing else
	@nm -D --defined-only $(SHARED) | awk '{print $$3}' | LC_ALL=C sort > $(TARGET)/exports.txt
	@diff -u tests/exports.txt $(TARGET)/exports.txt && echo "exports as in tests/exports.txt" || { \
	  echo "The exported functions changed. If that is meant: cp $(TARGET)/exports.txt tests/exports.txt" >&2; exit 1; }

# Versions of the servers besides those that `make servers` finds, as tests/servers.py understands them.
OTHER_SERVERS := "LC_TEST_REDIS=6.2 LC_TEST_VALKEY=8.1" "LC_TEST_REDIS=8.2"
REDIS_TESTS := $(patsubst tests/%.rs,--test %,$(wildcard tests/redis_*.rs))

.PHONY: test-versions soak soak-local soak-redis
test-versions: ## The tests of Redis caches on Redis 6.2 and 8.2 and Valkey 8.1 too
	for versions in $(OTHER_SERVERS); do echo "$$versions"; env $$versions $(CARGO) test --locked $(REDIS_TESTS) || exit 1; done

# Each part is a target of its own, runs the shipped build, and may be given its time: make soak SOAK_SECONDS=60
soak: soak-local soak-redis soak-hybrid ## The long forms of the stress programs (SOAK_SECONDS each)

soak-local: ## All operations of Local caches, mixed, SOAK_SECONDS (3600): memory flat, nothing left
	SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) $(CARGO) test --release --locked --test soak_local -- --nocapture

soak-redis: servers ## Random faults around Redis caches, SOAK_SECONDS (600) on each version of the servers
	for versions in "" $(OTHER_SERVERS); do echo "$$versions"; \
	  env $$versions LC_SOAK_SECONDS=$(or $(SECONDS),$(SOAK_SECONDS),600) \
	  $(CARGO) test --release --locked --test redis_stress --test redis_cancelled -- --nocapture || exit 1; done

soak-hybrid: library python-module servers ## Random faults around Hybrids, SOAK_SECONDS (600) on each version of the servers
	for versions in "" $(OTHER_SERVERS); do echo "$$versions"; \
	  env $$versions $(VPYTHON) tests/chaos/run.py --library $(TARGET)/release --seconds 30 --total $(or $(SECONDS),$(SOAK_SECONDS),600) \
	  $(if $(SEED),--seed $(SEED)) $(if $(STRICT),--strict) || exit 1; done
	CHAOS_SECONDS=$(or $(SECONDS),$(SOAK_SECONDS),600) $(CARGO) test --release --locked --test chaos -- --nocapture

# --- header

header: $(CBINDGEN) ## Write include/lighter_cache.h from src/ffi/
	@mkdir -p include
	$(CBINDGEN) --quiet --config cbindgen.toml --output $(HEADER) src/ffi/mod.rs

check-header: $(CBINDGEN) ## The committed header is what src/ffi/ says
	@mkdir -p $(TARGET)
	@$(CBINDGEN) --quiet --config cbindgen.toml --output $(TARGET)/lighter_cache.h src/ffi/mod.rs
	@diff -u $(HEADER) $(TARGET)/lighter_cache.h && echo "$(HEADER) is up to date" || { \
	  echo "$(HEADER) is not what src/ffi/ says. To mend it: make header" >&2; exit 1; }

$(CBINDGEN):
	@echo "installing cbindgen $(CBINDGEN_VERSION) into .deps/cbindgen with cargo (once, a minute or two)"
	$(CARGO) install --quiet --locked --root .deps/cbindgen cbindgen --version $(CBINDGEN_VERSION)

# --- install

install: library ## Install into PREFIX (/usr/local); also DESTDIR, LIBDIR, INCLUDEDIR, PKGCONFIGDIR, CMAKEDIR
	$(INSTALL) -d "$(DESTDIR)$(LIBDIR)" "$(DESTDIR)$(INCLUDEDIR)" "$(DESTDIR)$(PKGCONFIGDIR)" "$(DESTDIR)$(CMAKEDIR)"
	$(INSTALL) -m 755 $(SHARED) "$(DESTDIR)$(LIBDIR)/$(SOFILE)"
	ln -sf $(SOFILE) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/liblighter_cache.so"
	$(INSTALL) -m 644 $(STATIC) "$(DESTDIR)$(LIBDIR)/liblighter_cache.a"
	$(INSTALL) -m 644 $(HEADER) $(CPPHEADER) "$(DESTDIR)$(INCLUDEDIR)/"
	$(FILL) bindings/c/lighter_cache.pc.in > "$(DESTDIR)$(PKGCONFIGDIR)/lighter_cache.pc"
	$(FILL) bindings/c/lighter_cache-config.cmake.in > "$(DESTDIR)$(CMAKEDIR)/lighter_cache-config.cmake"
	$(FILL) bindings/c/lighter_cache-config-version.cmake.in > "$(DESTDIR)$(CMAKEDIR)/lighter_cache-config-version.cmake"

# What the static library needs of the system, as `rustc --print native-static-libs` says.
PRIVATE_LIBS := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
# Paths are written relative to PREFIX or to the file itself, so that an installed tree can be moved.
here = $(shell $(PYTHON) -c 'import os, sys; print(os.path.relpath(sys.argv[1], sys.argv[2]))' "$(1)" "$(2)")
FILL = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|g' \
	-e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|g' -e 's|@VERSION@|$(VERSION)|g' \
	-e 's|@LIBDIR_HERE@|$(call here,$(LIBDIR),$(CMAKEDIR))|g' -e 's|@INCLUDEDIR_HERE@|$(call here,$(INCLUDEDIR),$(CMAKEDIR))|g' \
	-e 's|@SOFILE@|$(SOFILE)|g' -e 's|@SONAME@|$(SONAME)|g' -e 's|@PRIVATE_LIBS@|$(PRIVATE_LIBS)|g'

uninstall: ## Remove what install put there (give it the same variables)
	rm -f "$(DESTDIR)$(LIBDIR)/$(SOFILE)" "$(DESTDIR)$(LIBDIR)/$(SONAME)" "$(DESTDIR)$(LIBDIR)/liblighter_cache.so" \
	  "$(DESTDIR)$(LIBDIR)/liblighter_cache.a" "$(DESTDIR)$(INCLUDEDIR)/lighter_cache.h" \
	  "$(DESTDIR)$(INCLUDEDIR)/lighter_cache.hpp" "$(DESTDIR)$(PKGCONFIGDIR)/lighter_cache.pc" \
	  "$(DESTDIR)$(CMAKEDIR)/lighter_cache-config.cmake" "$(DESTDIR)$(CMAKEDIR)/lighter_cache-config-version.cmake"
	-rmdir "$(DESTDIR)$(CMAKEDIR)" 2>/dev/null

# --- Python

wheel: $(VENV)/.tools ## Build the Python wheel into dist/
	$(VENV)/bin/maturin build --release --locked --manifest-path bindings/python/Cargo.toml --out dist

.PHONY: python-module
python-module: $(VENV)/.tools
	@mkdir -p $(TARGET)
	@echo "building the Python module and installing it into $(VENV)/"
	@VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/maturin develop --release --locked \
	  --manifest-path bindings/python/Cargo.toml > $(TARGET)/python-module.log 2>&1 || { cat $(TARGET)/python-module.log >&2; exit 1; }

$(VENV)/.tools: tests/requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed (set PYTHON=...), this is " + sys.version.split()[0])'
	@echo "making a virtual environment in $(VENV)/ with the tools of tests/requirements.txt"
	@test -x $(VPYTHON) || $(PYTHON) -m venv $(VENV)
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# --- servers, style, the rest

servers:
	@$(PYTHON) tests/servers.py fetch

lint: $(VENV)/.tools check-header check-stubs ## Formatting, clippy, header, Python style and types
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/ruff format --check --quiet .

.PHONY: check-stubs
check-stubs: python-module
	$(VENV)/bin/mypy --config-file bindings/python/pyproject.toml bindings/python/python/lighter_cache
	$(VENV)/bin/stubtest --mypy-config-file bindings/python/pyproject.toml lighter_cache

fmt: $(VENV)/.tools ## Format Rust and Python
	$(CARGO) fmt --all
	$(VENV)/bin/ruff format --quiet .

BENCH_PYTHON := .deps/bench/bin/python

bench: library python-module servers $(BENCH_PYTHON) ## Measure everything, write docs/benchmarks.md; ONLY=local,memory for some sections
	$(BENCH_PYTHON) benches/run.py $(if $(ONLY),--only "$(ONLY)")

bench-quick: library servers ## A quick look at the ratios (minutes)
	bash benches/quick.sh

check-instructions: library ## Instructions of the hot paths are about those in benches/instructions.json
	$(PYTHON) benches/instructions.py --check

instructions: library ## Count them anew and write that file
	$(PYTHON) benches/instructions.py --write

$(BENCH_PYTHON): benches/requirements.txt
	@echo "making a virtual environment in .deps/bench/ with what the report of the benchmarks needs"
	@test -x $@ || $(PYTHON) -m venv .deps/bench
	@$@ -m pip install --quiet --disable-pip-version-check -r benches/requirements.txt
	@touch $@

# TRACES: files and folders (generated traces without); CAPACITIES: entries or shares of the distinct keys, as
# 1000,5%; THREADS: replay on so many threads too; RUNS of ours to average; WRITE=1: into docs/.
HIT_RATIO := --locked --manifest-path benches/hit_ratio/Cargo.toml --target-dir $(TARGET)/hit_ratio
hit-ratio: ## Hit ratios beside other caches (TRACES=..., CAPACITIES=..., THREADS=..., WRITE=1)
	$(CARGO) run --quiet --release $(HIT_RATIO) -- $(if $(CAPACITIES),--capacities "$(CAPACITIES)") \
	  $(if $(THREADS),--threads $(THREADS)) $(if $(RUNS),--runs $(RUNS)) $(if $(WRITE),--write docs) $(TRACES)

test-hit-ratio: ## Tests and lints of the hit-ratio simulator
	$(CARGO) test --quiet --release $(HIT_RATIO)
	$(CARGO) clippy --quiet --release --all-targets $(HIT_RATIO) -- -D warnings
	$(CARGO) fmt --manifest-path benches/hit_ratio/Cargo.toml --check

sanitize: servers ## Tests under AddressSanitizer, ThreadSanitizer, valgrind and miri (ONLY=address), where they are there
	$(PYTHON) tests/sanitize.py $(ONLY)

fuzz: ## Each fuzz target for FUZZ_SECONDS (60); needs a nightly compiler
	$(PYTHON) fuzz/run.py $(ONLY)

clean: ## Remove what was built; .venv/ and .deps/ stay
	$(CARGO) clean
	rm -rf dist build

help: ## This list
	@echo "make TARGET; the targets are:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 22
