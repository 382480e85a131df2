# Needs make and Python 3.11 or newer (or uv); everything else is installed into .venv at the first run.

BIN := .venv/bin

.PHONY: help set-up services demo serve test check test-faults docs format

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

set-up: ## make .venv, or bring it up to date; the other targets do this by themselves
	@scripts/set-up

services: ## install RabbitMQ 4, PostgreSQL and Redis, which the tests start for themselves (as root)
	@scripts/services

demo: set-up ## show three requests live, while things go wrong, in under a minute
	@$(BIN)/bus demo

serve: set-up ## run the whole bus in one process; its data lives under .bus/
	@$(BIN)/bus serve

test: check ## the checks, then every test that is not long
	$(BIN)/pytest

check: set-up ## style, types and floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test-faults: set-up ## the long suites: kills, pairs of gaps, minutes of load
	$(BIN)/pytest -v -m long --timeout 900

docs: set-up ## write the pages and pictures that are generated from the code
	$(BIN)/python -m bus.tools.document
	$(BIN)/python -m bus.operations.reference > docs/operations.md
	$(BIN)/python docs/pictures/draw.py
	$(BIN)/python -m bus.cli.demo.picture docs/pictures/demo.svg

format: set-up ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
