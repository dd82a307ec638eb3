# make demo    train, judge and show a CNN on MNIST
# make test    the whole test suite
# make check   lint, format, types, layers
# make docs    the documentation as a site: site/index.html
# PYTHON=...   which Python makes the virtual environment (.venv)
# TORCH=...    which PyTorch goes into it: cpu, cuda or default; else what fits this machine

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: demo test check docs clean

demo:
	@$(PYTHON) scripts/environment.py
	@$(BIN)/python -m convscope train --recipe mnist-cnn

test:
	@$(PYTHON) scripts/environment.py test
	@$(BIN)/python -m pytest $(ARGS)

check:
	@$(PYTHON) scripts/environment.py test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

docs:
	@$(PYTHON) scripts/environment.py docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf .venv site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
