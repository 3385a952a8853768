# Two commands do all of it: make demo, make test.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed

# Processes of the tests. Each computes on one thread: the networks under test are small.
WORKERS ?= auto
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(RUN) -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

# The examples in the docstrings; what is a command when it is imported has none.
DOCTEST := $(PYTEST) --doctest-modules --ignore-glob='*/__main__.py' fi

.PHONY: help demo install test test-slow lint docs coverage clean

help:
	@echo "make demo       install, then run the main campaign: python -m fi.test --model CSNN"
	@echo "make test       install, then run the tests (make test-slow: the slow ones)"
	@echo "make lint       install, then check style and types"
	@echo "make docs       install, then renew the tables of docs/reference.md and docs/architecture.md"
	@echo "make coverage   install, then test the intervals by 400 draws of each scheme: docs/coverage.md"
	@echo "make install    make $(VENV) and install what constraints.txt pins into it"
	@echo "make clean      remove $(VENV) and caches; results in output/ stay"

demo: install
	$(RUN) -m fi.test --model CSNN

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV), once; PyTorch is large: this takes minutes."
	@$(RUN) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@# all at once, which is faster; where that fails, the extras one after the other
	@$(PIP) -e ".[dev,events,nir,cluster]" -c constraints.txt 2>/dev/null || { \
	$(PIP) -e ".[dev]" -c constraints.txt && { \
	$(PIP) -e ".[events]" -c constraints.txt 2>/dev/null || \
	  echo "Without tonic, which could not be installed: recorded data sets cannot be read."; \
	$(PIP) -e ".[nir]" -c constraints.txt 2>/dev/null || \
	  echo "Without nir, which could not be installed: NIR files cannot be written."; \
	$(PIP) -e ".[cluster]" -c constraints.txt 2>/dev/null || \
	  echo "Without distributed, which could not be installed: --cluster cannot be used."; } }
	@touch $@
	@echo "Installed."

test: install
	$(PYTEST) -m "not slow"
	$(DOCTEST)

test-slow: install
	$(PYTEST) -m slow

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(RUN) -m mypy

docs: install
	$(RUN) docs/options.py
	$(RUN) docs/layouts.py

coverage: install
	OMP_NUM_THREADS=1 $(RUN) docs/coverage_tables.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
