# make demo   synthetic speech -> Transformer teacher -> 1-bit student -> .swm file -> real MicroPython, and a report
# make test   every test
# make toolchain   once, for boards: compilers of their kernels, emulators (make test does it itself)
# make fuzz   the C core under a fuzzer, for 60 seconds or SECONDS=3600
# All do all their own set-up: a virtual environment in .venv, compilers and emulators in ~/.cache/signwave/toolchain.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NATIVE := $(filter-out %/fuzz.c, $(wildcard device/native/*.c device/native/*.h)) export/build_native.py bnn/fused.h bnn/build_fused.py

.PHONY: demo test fuzz install toolchain toolchain-pc clean

DEMO := runs/demo
comma := ,
WORDS := yes,no,up,down,stop

# Each step keeps what it has done: after an interruption the same command goes on.
demo: install toolchain-pc
	@run() { echo; echo "$$ signwave $$*"; $(BIN)/signwave "$$@"; }
	run kws synthesize $(DEMO)/speech --words $(WORDS) --clips 200 --synthesizers espeak
	run kws train --data $(DEMO)/speech --out $(DEMO)/commands --preset demo
	run inspect $(DEMO)/commands/model.swm
	run verify $(DEMO)/commands/model.swm
	clips=; for word in $(subst $(comma), ,$(WORDS)) _unknown_; do clips="$$clips $$(awk -F, -v w=$$word '$$2 == w && $$4 == "test" { print "$(DEMO)/speech/" $$1; exit }' $(DEMO)/speech/manifest.csv)"; done
	run run $(DEMO)/commands/model.swm $$clips --on micropython
	echo
	echo "All figures are on SYNTHETIC speech (eSpeak NG): they show that the path works, not how well people are understood."
	echo "Report with pictures: $(DEMO)/commands/report.html"

test: install toolchain
	@$(BIN)/ruff check .
	SIGNWAVE_REQUIRE_TOOLCHAIN=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

SECONDS := 60

fuzz: install
	@PYTHON=$(BIN)/python; . device/toolchain/packages.sh; need_packages fuzz
	$(BIN)/python -m device.fuzz --seconds $(SECONDS)

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12" >&2; exit 1; }
	@PYTHON=$(PYTHON); . device/toolchain/packages.sh; need_packages host
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "installing signwave and what it needs into $(VENV) (the first time: PyTorch, 4.6 GB, a minute or two)"
	@$(BIN)/pip install --disable-pip-version-check --editable '.[test]'
	@touch $@

toolchain-pc: install
	@PYTHON=$(abspath $(BIN)/python) device/toolchain/setup.sh pc

toolchain: install
	@PYTHON=$(abspath $(BIN)/python) device/toolchain/setup.sh pc rv32 xtensa fuzz

clean:
	rm -rf build runs/demo *.egg-info export/_native.* bnn/_fused.* $(INSTALLED)
