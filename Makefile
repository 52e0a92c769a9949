# `make demo` and `make test` need Python 3.11 or newer and nothing else; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test venv lint docs lock clean

demo: venv
	$(BIN)/python tools/demo.py

test: venv lint
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=90

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The site, in site/: open site/index.html. `make test` builds it, too, and checks it.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

venv: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# What an environment made from pyproject.toml alone holds: run it after a change there, in a fresh .venv.
lock:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev --editable ".[local,hub,parquet]"
	$(BIN)/python -m pip freeze --exclude-editable | sed -e 's/+cpu$$//' \
		-e "s/^atheris.*/&; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'/" > requirements.lock

clean:
	rm -rf $(VENV) results site .mypy_cache .ruff_cache .pytest_cache
