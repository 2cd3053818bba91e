# Two commands: `make run` (the demo) and `make test` (the gates of every day). `make help` lists the rest.

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PEERS := $(VENV)/peers
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -q

export OMP_NUM_THREADS ?= 1

.PHONY: help run install dev test lint types contracts unit bench chaos lock clean

help:
	@echo "make run      build the environment, then the demo at http://localhost:8080"
	@echo "make test     lint, types, import contracts, tests"
	@echo "make install  the environment only"
	@echo "make bench    side-by-side benchmarks (BENCH_JSON=FILE keeps the figures)"
	@echo "make chaos    long fault campaigns"
	@echo "make lock     write the lock files anew from pyproject.toml"

run: install
	$(BIN)/evertrain demo

install: $(VENV)/installed

dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "evertrain needs Python 3.11 or newer; none was found"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install $$($(PYTHON) -c \
		'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python requirements.lock pyproject.toml
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed tests/requirements.lock
	$(PIP) install -r tests/requirements.lock
	@touch $@

# what evertrain is compared with lies apart: in the environment itself it would slow every start down
$(PEERS)/installed: $(VENV)/installed-dev tests/bench/requirements.lock
	rm -rf $(PEERS)
	$(PIP) install --no-deps --target $(PEERS) -r tests/bench/requirements.lock
	@touch $@

test: dev lint types contracts unit

lint: dev
	$(BIN)/ruff check .

types: dev
	$(BIN)/mypy

contracts: dev
	$(BIN)/lint-imports

unit: dev
	$(BIN)/python -m pytest -q -m "not bench and not chaos" -n logical --maxprocesses 4 --dist worksteal

bench: $(PEERS)/installed
	PYTHONPATH=$(PEERS) $(BIN)/python -m pytest -q -s -m bench tests/bench

chaos: dev
	$(BIN)/python -m pytest -q -m chaos -n logical --maxprocesses 4 --dist worksteal tests

lock: $(PEERS)/installed
	PYTHONPATH=$(PEERS) $(BIN)/python tests/write_lock.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
