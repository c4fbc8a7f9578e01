# SPDX-License-Identifier: MIT
# The front door. Meson does the building: see docs/development.md for working with it directly.
#
#   make            release build: build/steno         make test      every test, with sanitizers
#   make demo       speech to text in one command      make check     format, includes, linters, documents
#   make install    PREFIX=/usr/local DESTDIR=         make bench     benchmarks
#   make fuzz       short run of the fuzz targets      make faults    a cluster whose servers die and hang
#   make chaos      whatever can go wrong, at random   make soak      20,000 jobs through one worker
#   make api-docs   with the pages /docs, /redoc   make clean      removes the build folders

PREFIX ?= /usr/local
MESON_FLAGS ?=
# How many processes build at once; empty: as many as there are processors.
JOBS ?=
# How long `make faults` goes on, for each of two brokers.
FAULT_SECONDS ?= 600
NINJA = ninja $(if $(JOBS),-j$(JOBS))
LIST = packaging/apt-

.PHONY: all demo test check bench fuzz faults chaos soak release-with-faults install clean docs api-docs deps-build deps-demo deps-test deps-bench deps-check deps-fuzz

all: deps-build build/build.ninja
	$(NINJA) -C build

build/build.ninja:
	meson setup build --prefix=$(PREFIX) -Dbuildtype=release $(MESON_FLAGS)

demo: deps-demo all
	tools/demo.sh build/steno

test: deps-test
	tests/run $(if $(JOBS),--jobs $(JOBS)) $(TEST_FLAGS)

check: deps-check
	tools/check $(if $(JOBS),--jobs $(JOBS)) $(CHECK_FLAGS)

bench: deps-demo deps-test deps-bench
	test -e build-bench/build.ninja || meson setup build-bench -Dtests=true -Dbuildtype=release $(MESON_FLAGS)
	$(NINJA) -C build-bench
	bench/run build-bench $(BENCH_FLAGS)
	bench/cluster build-bench

fuzz: deps-fuzz
	tools/fuzz.sh $(FUZZ_SECONDS)

faults: deps-test release-with-faults
	STENO_BIN=$(CURDIR)/build-release/steno STENO_TEST_LONG=$(FAULT_SECONDS) \
		/usr/bin/python3 -m pytest -s -q -p no:cacheprovider tests/e2e/test_cluster_faults.py -k survives

# At most ten minutes; CHAOS_FLAGS="--seed N" repeats a run.
chaos: deps-test release-with-faults
	STENO_BIN=$(CURDIR)/build-release/steno tests/chaos/chaos.py $(CHAOS_FLAGS)

soak: deps-test release-with-faults
	STENO_BIN=$(CURDIR)/build-release/steno tests/chaos/soak.py $(SOAK_FLAGS)

release-with-faults:
	test -e build-release/build.ninja || meson setup build-release -Dtests=true -Dfaults=true -Dbuildtype=release $(MESON_FLAGS)
	$(NINJA) -C build-release

# Only copies: run `make` before, so that nothing is compiled as root.
install:
	@test -x build/steno || { echo "make install: run 'make' first" >&2; exit 1; }
	meson setup build --reconfigure --prefix=$(PREFIX) >build/meson-logs/install.txt
	meson install -C build --no-rebuild

# Builds with the pages /docs and /redoc; needs npm and its registry once.
api-docs: deps-build build/build.ninja
	test -e build-api-docs/redoc.standalone.js || tools/fetch_api_docs.sh build-api-docs
	meson configure build -Dapi_docs=$(CURDIR)/build-api-docs
	$(NINJA) -C build

# The documents that are made from tables in the program.
docs: all
	tools/gendocs build/steno

clean:
	rm -rf build build-*

deps-build:
	@tools/deps.sh $(LIST)build.txt $(LIST)run.txt
deps-demo:
	@tools/deps.sh $(LIST)build.txt $(LIST)run.txt $(LIST)demo.txt
deps-test:
	@tools/deps.sh $(LIST)build.txt $(LIST)run.txt $(LIST)demo.txt $(LIST)test.txt
	@for name in $$(tests/services.sh names); do tests/services.sh install $$name || true; done
deps-bench:
	@tools/deps.sh $(LIST)bench.txt
deps-check:
	@tools/deps.sh $(LIST)build.txt $(LIST)check.txt
deps-fuzz:
	@tools/deps.sh $(LIST)build.txt $(LIST)check.txt
