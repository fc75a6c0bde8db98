# Everything here runs in .venv, which `make setup` builds once; the other targets call it themselves.
# To choose the interpreter: make setup PYTHON=python3.12      To pass on to pytest: make test ARGS="-k losses"
# The slow tests too, as in CI: make test ARGS=--slow

PYTHON ?= python3
JOBS   ?= 3
ARGS   ?=
BIN    := .venv/bin
STAMP  := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench clean
# A recipe that fails or is interrupted must not leave its target behind.
.DELETE_ON_ERROR:

help: ## print this list (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## build .venv with everything that the other targets need (a few minutes, once)
	@:

# The stamp is made last: a set-up that was interrupted starts again, one that is complete costs nothing.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "gloss-tune needs Python 3.10 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>/dev/null || echo not there)." >&2; \
		echo "Name another one: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments (its venv or ensurepip module is missing)." >&2; \
		echo "On Debian and Ubuntu: apt install python3-venv. Or name another: make setup PYTHON=..." >&2; exit 1; }
	@rm -f $(STAMP)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing gloss-tune and its tools into .venv: a few minutes and about 2 GB, once." >&2
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev,offline,postgres,parquet,report,tensorboard]'
	@touch $(STAMP)

demo: setup ## tune a real small study from start to finish (no download, under two minutes)
	@$(BIN)/gloss-tune demo

test: setup ## run every test, on three processes, which wait as often as they compute (JOBS=N for others)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

check: setup ## lint, formatting and types, as CI does
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## mend what the linter and the formatter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## run the benchmarks and print their figures
	@$(BIN)/python -m tests.benchmarks

clean: ## remove .venv and everything that can be made again
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
