# A thin front for the CMake presets. `make demo`, `make test` and `make check` do everything on a fresh Debian
# machine, as root: they install what they need.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD := build/release
JOBS ?= $(shell nproc)

.PHONY: all guest install uninstall demo test check bench fuzz format tidy deps clean

# Paths of the installation are in the programs and in the units, so another PREFIX is another configuration.
all:
	@{ test -f $(BUILD)/build.ninja && grep -qxF 'CMAKE_INSTALL_PREFIX:PATH=$(PREFIX)' $(BUILD)/CMakeCache.txt; } || \
		cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build $(BUILD) -j $(JOBS)

# Kernels and image of virtual machines, into build/guest/out (some minutes the first time).
guest:
	@test/deps build node
	@vmm-task/guest/build

install: all
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)
	@cp $(BUILD)/install_manifest.txt $(BUILD)/installed.txt # the demo and the tests install from here, too

uninstall:
	@test -f $(BUILD)/installed.txt || { echo "nothing was installed from $(BUILD)"; exit 1; }
	sed 's|^|$(DESTDIR)|' $(BUILD)/installed.txt | xargs -d '\n' rm -fv
	@sed -n 's|^\(.*/kuasar\)/.*|$(DESTDIR)\1|p' $(BUILD)/installed.txt | sort -u | \
		while read -r d; do test ! -d "$$d" || find "$$d" -depth -type d -empty -delete; done

# Build, make the node, run real pods, print what happened.
demo:
	@test/deps build node
	@test/demo/run

# Unit, protocol, fuzz corpus and end-to-end tests.
test: deps
	@test/run

# The fast part: unit and protocol tests, about two minutes from nothing on two cores.
check: deps
	@test/run unit

# Side by side with containerd's own shim, in one run; writes docs/benchmarks.
bench:
	@test/deps build node
	@test/bench/run

# Every fuzzer for FUZZ_SECONDS, with clang.
fuzz: deps
	test/fuzz/run

# What the targets above need from Debian, installed by name where it is missing.
deps:
	@test/deps

format:
	git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i

tidy: deps
	test/lint

clean:
	rm -rf build
