# `make help` lists the targets. Everything runs in .venv, which is made on first use from pyproject.toml and constraints.txt.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-dev
# Idle threads of torch sleep instead of spinning, so that other work on the machine does not slow it down tenfold.
export OMP_WAIT_POLICY ?= PASSIVE
# Tests run in this many processes. One more takes a tenth less time, but some tests then race the machine.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test browser check docs site bench format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	@echo "installing packages into $(VENV): about 2 GB, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

$(TESTED): $(INSTALLED)
	@echo "adding what tests, types and documents need: about 1 GB more"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## from nothing to a trained SAE and a verified store (SPLAT_DATA, or ./data)
	$(BIN)/splat demo

test: $(TESTED) browser  ## format, lint, types, import contracts, all tests
	$(MAKE) --no-print-directory lint
	$(PYTEST)

browser:  ## Chromium, in which the dashboard is tested (Debian's package, where it may be installed)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no Chromium and no way to install it here: tests of the dashboard in a browser are skipped"

check: $(TESTED)  ## the same without the slow tests
	$(MAKE) --no-print-directory lint
	$(PYTEST) -m "not slow"

.PHONY: lint
lint: $(TESTED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(TESTED)  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)  ## write docs/cli.md from --help
	$(BIN)/python -m splat_assets.commands.reference > docs/cli.md

site: $(TESTED)  ## the documentation as pages, in ./site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(TESTED)  ## run the benchmarks; they print rates and ratios
	for name in store pipeline sae_training precompute serving soak dashboard; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:  ## delete the environment and caches, never data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build site *.egg-info
