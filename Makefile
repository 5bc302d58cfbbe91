# Everything runs from .venv, which is made from the hash-locked requirements.
#   make demo   set up, then play the story on the embedded provider (no keys, no network), and serve on until
#               Ctrl-C; DEMO_ARGS=--once plays the story alone
#   make test   set up, then run every test, on several cores; PYTEST_ARGS="tests/cli -x" narrows it
#   make check  formatting, lint, types, layers
#   make bench  what a proxied request costs, as ratios to nginx in the same run
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The vendors' SDKs of the generation before, which do not go together with those of today.
OLDER := .venv-older
OLDER_READY := $(OLDER)/.ready
# One process for each core, but no more than pay: a container may show more cores than it may use.
# A file stays in one process, since its tests share daemons.
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo test check bench lock clean setup
.DEFAULT_GOAL := test

demo: setup
	@$(BIN)/sidecar demo $(DEMO_ARGS)

# What was compiled once is not compiled again by each of some hundred processes, wherever the variable is set.
test: export PYTHONDONTWRITEBYTECODE =
test: setup $(OLDER_READY)
	@$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

check: setup
	@$(BIN)/ruff format --check sidecar tests
	@$(BIN)/ruff check sidecar tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup
	@$(BIN)/python tests/bench/bench.py $(BENCH_ARGS)

setup: $(READY)

$(READY): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python >= 3.11 (Debian: apt install python3) or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python >= 3.11 is needed, say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv' 2>/dev/null || { echo "make: the Python module venv is missing; Debian: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "make: the Python module ensurepip is missing; Debian: apt install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Without them, for want of a network say, their tests are skipped.
$(OLDER_READY): tests/older_sdks/requirements.lock | $(READY)
	@echo "setting up $(OLDER) ..."
	@$(PYTHON) -m venv --clear $(OLDER)
	@$(OLDER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< && touch $@ || true

# Anew from pyproject.toml; needs uv.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade tests/older_sdks/requirements.in -o tests/older_sdks/requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --group build -c requirements-dev.lock -o requirements-build.lock

clean:
	rm -rf $(VENV) $(OLDER) .venv-newest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
