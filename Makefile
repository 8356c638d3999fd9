# Two commands: `make bench` sets everything up and runs the quick suite to results/quick/README.md;
# `make test` sets everything up and passes the tests. `make check` runs the linters.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: bench test check benchmarks speed torture gpu clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Legible needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

bench: $(VENV)/.installed
	$(BIN)/legible run quick --only-local
	$(BIN)/legible publish quick --only-local --no-cost --no-pictures

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmarks: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks --benchmark-only -n 0

# Ratios to peers, as a page: writes docs/performance.md if nothing else runs on the machine.
speed: $(VENV)/.installed
	PYTHONPATH=tests/support OMP_NUM_THREADS=1 $(BIN)/python -m speed $(ARGS)

# Kills, flipped bits, full disks, hostile plugins, fuzz: ARGS="kills flips", ARGS=--short
torture: $(VENV)/.installed
	cd tests && PYTHONPATH=support OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m torture $(ARGS)

# On a GPU: writes results/gpu in six minutes and installs nothing. PYTHON=... names an interpreter
# that has torch. `make gpu DEVICE=cpu ARGS=--rehearse` tries the check itself on a CPU.
DEVICE ?= cuda
GPU_PYTHON = $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))
gpu:
	PYTHONPATH=gpu_packages:tests/support:. $(GPU_PYTHON) -m gpu_check --device $(DEVICE) $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info
