# Needs make and Python 3.11 or newer (or uv); everything else is installed into .venv at the first run.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test check serve test-faults docs format

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

demo: $(INSTALLED) ## show one request through two agencies and a clerk, in under a minute
	@$(BIN)/bus demo

serve: $(INSTALLED) ## run the whole bus in one process; its data lives under .bus/
	@$(BIN)/bus serve

test: check ## the checks, then every test that is not long
	$(BIN)/pytest

check: $(INSTALLED) ## style, types and floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test-faults: $(INSTALLED) ## the long suites: kills, pairs of gaps, minutes of load
	$(BIN)/pytest -v -m long --timeout 900 tests/fault

docs: $(INSTALLED) ## write the pages that are generated from the code
	$(BIN)/python -m bus.tools.document
	$(BIN)/python -m bus.operations.reference > docs/operations.md

format: $(INSTALLED) ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# Made anew where it cannot run (half made, or its Python is gone); brought up to date when a pin changed.
$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    python=$$(scripts/find-python) || exit 2; \
	    echo "Making $(VENV) with $$python"; \
	    "$$python" -m venv --clear $(VENV); }
	@echo "Installing the pinned packages into $(VENV); the first time this takes a minute"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
