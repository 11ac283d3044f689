# PYTHON: the CPython 3.11 that the virtual environment is made of.
PYTHON ?= python3.11
# UV: only `make lock` needs it (https://docs.astral.sh/uv/).
UV ?= uv

VENV_PYTHON := .venv/bin/python
STAMP := .venv/.set-up

.DEFAULT_GOAL := help
.PHONY: help setup lint test test-slow demo docs lock clean

help:  ## Shows this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Makes the virtual environment in .venv and installs everything into it.

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' \
		2>/dev/null || { echo "Set-up needs CPython 3.11 with its venv module: install it" \
		"(Debian: python3.11-venv) or name it, as in make PYTHON=/path/to/python3.11." \
		"Received: PYTHON=$(PYTHON)." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing the packages of requirements.lock (2 GB) into .venv takes a minute or two."
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements.lock
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

lint: setup  ## Checks style and format.
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

test: export TF_CPP_MIN_LOG_LEVEL = 3
test: setup lint  ## Checks style and runs every test that is not marked slow.
	$(VENV_PYTHON) -m pytest -n 2 --dist loadfile

test-slow: export TF_CPP_MIN_LOG_LEVEL = 3
test-slow: setup  ## Runs the tests marked slow.
	$(VENV_PYTHON) -m pytest -m slow

demo: export TF_CPP_MIN_LOG_LEVEL = 3
demo: setup  ## Runs the main job on the built-in dataset; the result is in runs/demo.
	$(VENV_PYTHON) -m launchers.demo --output_dir=runs/demo

docs: export TF_CPP_MIN_LOG_LEVEL = 3
docs: export NO_MKDOCS_2_WARNING = 1
docs: setup  ## Builds the documentation's site into build/site.
	$(VENV_PYTHON) -m mkdocs build --quiet
	@echo "build/site/index.html"

lock:  ## Renews requirements.lock from requirements.txt and the dev extra.
	@command -v $(UV) >/dev/null || { echo "Locking needs uv: install it or name it, as in" \
		"make lock UV=/path/to/uv. Received: UV=$(UV)." >&2; exit 1; }
	$(UV) pip compile --generate-hashes --universal --python-version 3.11 --extra dev \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## Removes the virtual environment and what builds and tests leave.
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis bazel-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
