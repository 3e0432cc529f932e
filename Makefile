# Everything runs in .venv, made from pyproject.toml's pins. `make help` lists the targets.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup all test coverage test-faults test-slurm test-slurm-default test-browser lint bench bench-quick docs seeds negative-control clean FORCE

help: ## this list
	@grep -hE '^[a-zA-Z_%/.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | \
	  awk -F'\t' '{printf "  make %-28s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: clipsteer needs Python 3.11 (or: make PYTHON=/path/to/python3.11)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## create .venv with the pinned dependencies

results/%: $(STAMP) FORCE ## any result, such as results/celeba_table.csv (always asks Snakemake)
	snakemake --cores all $@

all: $(STAMP) ## every table of config.yaml
	snakemake --cores all

lint: $(STAMP) ## ruff, snakefmt, mypy, snakemake --lint
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

test: lint ## lint, then all tests
	pytest -n auto --dist worksteal

TESTS ?= tests
coverage: $(STAMP) ## which lines the tests run, but for Snakemake's jobs (TESTS=tests/steering: for these alone)
	pytest $(TESTS) -n auto --cov --cov-report=term

FAULTS ?= all
test-faults: $(STAMP) ## every step of the chain fails in every way, and is mended (under 30 minutes; FAULTS=tenth: a tenth; FAULTS=every: the steps beside it too)
	CLIPSTEER_TEST_FAULTS=$(FAULTS) pytest -n auto --dist worksteal tests/faults/test_m*.py

test-slurm: $(STAMP) ## profiles/slurm on a real Slurm on this machine (Debian or Ubuntu, as root)
	tests/slurm/install.sh
	CLIPSTEER_TEST_SLURM=1 pytest tests/slurm --durations=12

test-slurm-default: $(STAMP) ## the whole embedded default on such a Slurm (10 to 30 minutes)
	tests/slurm/install.sh
	CLIPSTEER_TEST_SLURM=default pytest tests/slurm/test_profile.py -k default -rP

test-browser: $(STAMP) ## the pages in a real browser (Debian's Chromium, installed where it is missing and can be)
	tests/browser/install.sh
	pytest tests/browser

bench: $(STAMP) ## every performance target, measured beside its peer or floor (about 30 minutes; docs/performance.md)
	python -m benchmarks.suite

bench-quick: $(STAMP) ## the same at smaller sizes, without the embedded default from cold (under 5 minutes)
	python -m benchmarks.suite --quick

DOCS_BIN := .venv-docs/bin
.venv-docs/.installed: docs/site/requirements.txt
	$(PYTHON) -m venv .venv-docs
	$(DOCS_BIN)/python -m pip install --quiet --requirement $<
	@touch $@

docs: .venv-docs/.installed ## the documentation as a site, out/site/index.html; every link and section is checked
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build

seeds: $(STAMP) ## the whole pipeline under ten fresh seeds; writes docs/seeds.md and its figure
	python experiments/seeds.py

negative-control: results/celeba_negative_control.csv ## Eq. 9 with shuffled training labels (about 10 minutes)

clean: ## remove results, logs and Snakemake's own state; the store stays
	rm -rf results logs .snakemake

FORCE:
