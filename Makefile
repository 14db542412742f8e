# A thin front of CMake: set-up, build, run, test. `make help` lists the targets.
RECIPE ?= recipes/quickstart.lua
ARGS   ?=
BUILD  ?= build
PREFIX ?= /usr/local

all: build

help:
	@echo 'make             install what is missing (Debian packages), configure and build into $(BUILD)/'
	@echo 'make run         the same, then run $(RECIPE) (RECIPE=..., ARGS="key=value ...")'
	@echo 'make test        the same, then every test'
	@echo 'make docs        the reference, from the comments in the sources, into docs/reference/'
	@echo 'make bench       time training and inference beside PyTorch and ONNX Runtime (own environment)'
	@echo 'make sanitize    the op specs under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make install     into PREFIX=$(PREFIX)'
	@echo 'make deb         a Debian package, in $(BUILD)-deb/'
	@echo 'make clean       remove $(BUILD)/'

packages:
	@cmake/packages.sh

configure: packages
	@cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@mv $(BUILD).log $(BUILD)/configure.log

# All, or with TARGET=command what a run needs: not what only the tests do.
TARGET ?= all
build: configure
	@cmake --build $(BUILD) -j$$(nproc) --target $(TARGET) > $(BUILD)/build.log 2>&1 || { cat $(BUILD)/build.log; exit 1; }
	@echo "built $(BUILD)/datamux"

run: TARGET = command
run: build
	@$(BUILD)/datamux $(RECIPE) $(ARGS)
	@test "$(RECIPE)" != recipes/quickstart.lua || echo 'real SST-2:  make run RECIPE=recipes/sst2_n20.lua'

test: build
	@ctest --test-dir $(BUILD) -j2 --output-on-failure
	@! command -v luacheck > /dev/null || luacheck -q --std luajit lua recipes docs
	@! command -v luacheck > /dev/null || luacheck -q --std luajit+busted tests

docs: TARGET = command
docs: build
	@$(BUILD)/datamux docs/reference.lua docs/reference
	@echo 'wrote docs/reference/README.md'

bench: build
	@bench/cpu/run

sanitize: packages
	@cmake -S . -B $(BUILD)-asan -DCMAKE_BUILD_TYPE=Release -DDATAMUX_SANITIZE=ON > /dev/null
	@cmake --build $(BUILD)-asan -j$$(nproc) --target datamux > /dev/null
	@ASAN_OPTIONS=detect_leaks=0 busted --lua=$(BUILD)-asan/datamux -m '$(CURDIR)/?.lua' -o plainTerminal tests/ops

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX) > /dev/null
	@echo "installed $(PREFIX)/bin/datamux"

deb:
	@cmake/packages.sh dpkg-dev
	@cmake/deb.sh $(BUILD)-deb

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-deb $(BUILD)-deb-v4

.PHONY: all help packages configure build run test docs bench sanitize install deb clean
