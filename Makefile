# make demo: a first study, from nothing to its report.   make test: every check that CI runs.
# make check: those that need no test run (style, types, imports), in under a minute.
# make up: MLflow for many people and a Ray cluster, in containers.   make down: ends them, and keeps what they hold.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
COMPOSE := docker compose --file docker/compose.yaml

.PHONY: demo check lint types imports test up down clean
.SILENT:

demo: .venv/installed
	$(BIN)/python -m ablate.run -m norm=bn,srelu bits=1,32
	$(BIN)/python -m analysis.report

test: check
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations 15 --cov --cov-report=term

check: .venv/installed-dev
	$(MAKE) --no-print-directory --jobs 3 --output-sync lint types imports

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy's workers give up on a busy machine, with exit status 2; one process does not.
types: .venv/installed-dev
	$(BIN)/mypy --num-workers 2 || { test $$? -eq 2 && $(BIN)/mypy; }

imports: .venv/installed-dev
	$(BIN)/lint-imports --no-logo

up: export ABLATE_REVISION = $(shell git describe --always --dirty --exclude='*' 2>/dev/null)
up:
	docker/secrets.sh
	$(COMPOSE) up --detach --build --wait
	echo "MLflow: http://127.0.0.1:5000, user admin, its password in docker/secrets/mlflow_admin_password; Ray: http://127.0.0.1:8265, its token in docker/secrets/ray_token"
	echo "Studies are started in: $(COMPOSE) exec client bash"

down:
	$(COMPOSE) down

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
