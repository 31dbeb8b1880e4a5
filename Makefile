# Each target does its own set-up in .venv. Without make (Windows, macOS without Xcode): see "Without make" in README.md.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV := .venv/bin

.PHONY: demo test test-slow lint bench bench-peers clean

demo: .venv/train
	$(VENV)/python tools/demo.py

test: .venv/dev
	$(VENV)/python -m pytest -n 2 --dist worksteal

test-slow: .venv/dev
	$(VENV)/python -m pytest -m slow

lint: .venv/dev
	$(VENV)/ruff check . && $(VENV)/ruff format --check . && $(VENV)/mypy

bench: .venv/train
	$(VENV)/python bench/training_step.py
	$(VENV)/python bench/int8.py
	$(VENV)/python bench/pipeline.py
	$(VENV)/python bench/cpu_backends.py

bench-peers: .venv/train
	$(VENV)/python bench/peers.py

.venv/train: pyproject.toml
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet -e '.[train]'
	touch $@

.venv/dev: .venv/train
	$(VENV)/python -m pip install --quiet -e '.[train,jax,dev]'
	touch $@

clean:
	rm -rf .venv .venv-peers build *.egg-info .pytest_cache .ruff_cache
