# make demo    train, judge and show a CNN on MNIST
# make test    the whole test suite, shared among processes; ARGS="tests/data -n 0" for a part, by one
# make check   lint, format, types, layers
# make dist    wheel and source archive, checked, in dist/
# make docs    the documentation as a site: site/index.html
# PYTHON=...   which Python makes the virtual environment (.venv)
# TORCH=...    which PyTorch goes into it: cpu, cuda or default; else what fits this machine

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: demo test check dist docs clean

demo:
	@$(PYTHON) scripts/environment.py
	@$(BIN)/python -m convscope train --recipe mnist-cnn

test:
	@$(PYTHON) scripts/environment.py test
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check:
	@$(PYTHON) scripts/environment.py test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

dist:
	@$(PYTHON) scripts/environment.py test
	@$(BIN)/python -m pip install -q -c constraints.txt build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	@$(BIN)/python -m pytest -q tests/test_wheel.py $(ARGS)

docs:
	@$(PYTHON) scripts/environment.py docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf .venv dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
