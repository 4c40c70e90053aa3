# A thin front for the CMake presets. `make demo` and `make test` do everything on a fresh Debian machine,
# as root: they install what they need.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD := build/release
JOBS ?= $(shell nproc)

.PHONY: all install uninstall demo test check fuzz bench format tidy deps clean

all: $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json
	cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX)

install: all
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

uninstall:
	@test -f $(BUILD)/install_manifest.txt || { echo "nothing was installed from $(BUILD)"; exit 1; }
	sed 's|^|$(DESTDIR)|' $(BUILD)/install_manifest.txt | xargs -d '\n' rm -fv

# Build, make the node, run real pods, print what happened.
demo:
	@test/deps build node
	@test/demo/run

# Unit, protocol, fuzz corpus and end-to-end tests.
test: deps
	@test/run

# The fast part: unit and protocol tests, under a minute.
check: deps
	cmake --preset dev >/dev/null
	cmake --build build/dev -j $(JOBS)
	ctest --preset dev

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
