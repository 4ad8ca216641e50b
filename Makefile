# make demo: a first study, from nothing to its report.   make test: every check that CI runs.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test clean
.SILENT:

demo: .venv/installed
	$(BIN)/python -m ablate.run -m norm=bn,srelu bits=1,32
	$(BIN)/python -m analysis.report

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, not {sys.version.split()[0]}")'
	echo "Setting up .venv (a few minutes, once)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@ 

.venv/installed-dev: .venv/installed
	echo "Adding the development tools (once)"
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
