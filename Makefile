# `make demo` and `make test` need Python >= 3.11, make and a package index; everything else they bring themselves.
# ARGS go to the command: `make demo ARGS=--once`, `make pytest ARGS='tests/store -k journal'`.

PYTHON ?= python3
BIN    := .venv/bin
ARGS   ?=
# Tests wait more than they compute. A file's tests share servers, so they stay together.
SHARES := --numprocesses 3 --dist loadfile --no-loadscope-reorder
STAMPS := .venv/stamps
# Python 3.11 has no cheap way to trace lines: coverage doubles what tests compute, so CI leaves it to `make check`.
COVERAGE := --cov --cov-report=term:skip-covered
PIP    := $(BIN)/uv pip install --python $(BIN)/python --no-deps
LOCK   := $(BIN)/uv pip compile pyproject.toml --group weights --group demo --group build --universal \
          --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
          --custom-compile-command "make lock"

# Compiled modules are what makes a second start quick.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo setup test check types shared-tests pytest fuzz format lock bench soak clean

help:             ## list these targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(STAMPS)/run   ## run everything here, make three real calls, and stay up
	@$(BIN)/backstay demo $(ARGS)

setup: $(STAMPS)/dev  ## make .venv with everything for development

test: $(STAMPS)/dev $(STAMPS)/tools  ## set up, and run all that CI runs: the same without coverage
	@$(MAKE) --no-print-directory check COVERAGE=

check: $(STAMPS)/dev  ## format, lint, types, import contract, tests with coverage
	$(BIN)/ruff format --check
	$(BIN)/ruff check --no-cache
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory --jobs 2 types shared-tests

types: $(STAMPS)/dev
	$(BIN)/pyright

shared-tests: $(STAMPS)/dev
	$(BIN)/pytest $(SHARES) $(COVERAGE) $(ARGS)

pytest: $(STAMPS)/dev  ## run the tests alone
	$(BIN)/pytest $(ARGS)

fuzz: $(STAMPS)/dev   ## run the property tests on other examples than `make test` does, again and again
	@while HYPOTHESIS_PROFILE=other $(BIN)/pytest -q -m hypothesis $(SHARES) $(ARGS); do :; done

format: $(STAMPS)/dev  ## format the code and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --no-cache --fix

bench: $(STAMPS)/dev  ## measure the gateway against its targets
	@$(BIN)/python -m bench $(ARGS)

soak: $(STAMPS)/dev   ## play every drill at full length, and spend 10,000 budgets, kill a batch of 10,000; reports go to drills/
	@mkdir -p drills; status=0; for name in $$($(BIN)/backstay drill list --json | $(BIN)/python -c \
	  'import json, sys; print(*(drill["name"] for drill in json.load(sys.stdin)["drills"]))'); do \
	  echo "$$name"; $(BIN)/backstay drill $$name --compare --report drills/$$name.html $(ARGS) || status=1; done; \
	  $(BIN)/python -m bench soak || status=1; \
	  $(BIN)/python -m bench soak --served --rounds 500 || status=1; \
	  BACKSTAY_TEST_BATCH_LINES=10000 $(BIN)/python -m pytest -q -s -n 0 tests/jobs/test_batch_kills.py || status=1; exit $$status

lock: $(STAMPS)/uv    ## resolve the requirements again, with hashes
	$(LOCK) -o requirements/run.txt
	$(LOCK) --group dev -o requirements/dev.txt
	$(BIN)/uv pip compile requirements/uv.in --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --custom-compile-command "make lock" -o requirements/uv.txt

clean:            ## remove what was made here, but not the data folder
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov dist build

$(STAMPS)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Backstay needs Python 3.11 or newer; this is " + sys.version.split()[0] \
	  + ". Name another with PYTHON=.") if sys.version_info < (3, 11) else None'
	@echo "making .venv" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: requirements/run.txt pyproject.toml | $(STAMPS)/uv
	@$(PIP) --require-hashes --compile-bytecode -r requirements/run.txt
	@$(PIP) --no-build-isolation --quiet -e .
	@touch $@

$(STAMPS)/dev: requirements/dev.txt pyproject.toml | $(STAMPS)/uv
	@$(PIP) --require-hashes --compile-bytecode -r requirements/dev.txt
	@$(PIP) --no-build-isolation --quiet -e .
	@touch $@ $(STAMPS)/run

$(STAMPS)/tools: | $(STAMPS)/uv
	@bash .ci/tools
	@touch $@
