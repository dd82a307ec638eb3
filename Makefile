# make demo    train, judge and show a CNN on MNIST
# make test    the whole test suite, shared among processes; ARGS="tests/data -n 0" for a part, by one
# make check   lint, format, types, layers
# PYTHON=...   which Python makes the virtual environment (.venv)
# TORCH=...    which PyTorch goes into it: cpu, cuda or default; else what fits this machine

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: demo test check clean

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

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
