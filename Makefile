# Each target does its own set-up in .venv. Without make (Windows, macOS without Xcode): see "Without make" in
# docs/development.md.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV := .venv/bin

.PHONY: demo test test-slow test-oldest fuzz lint bench bench-peers docs clean

demo: .venv/train
	$(VENV)/python tools/demo.py

test: .venv/dev
	$(VENV)/python -m pytest -n 2 --dist worksteal

test-slow: .venv/dev
	$(VENV)/python -m pytest -m slow

# What the board and the SDK machine run, with the oldest packages that they may have.
OLDEST := $(shell for p in python3.10 python3.11; do $$p -c "" 2>/dev/null && echo $$p && break; done)
OLD_TESTS := tests/test_home.py tests/test_report.py tests/test_results.py \
	$(addprefix tests/hailo/test_,hef.py har.py problem.py xxh3.py script.py lint.py) \
	$(addprefix tests/runtime/test_,images.py faces.py follow.py draw.py tracker.py pipeline.py outputs.py open_sources.py channel.py cameras.py doctor_findings.py)

test-oldest:
ifeq ($(OLDEST),)
	@echo "test-oldest: skipped, there is neither Python 3.10 nor 3.11, for which numpy 1.23.5 exists"
else
	@echo "test-oldest: numpy 1.23.5 and OpenCV 4.8 on $$($(OLDEST) --version)"
	@test -f .venv-oldest/ready || ($(OLDEST) -m venv .venv-oldest && .venv-oldest/bin/python -m pip install --quiet \
		numpy==1.23.5 opencv-python==4.8.0.74 ai-edge-litert pyyaml pillow pytest && touch .venv-oldest/ready)
	.venv-oldest/bin/python -m pytest $(OLD_TESTS)
endif

# Ten thousand damaged files of each format, then a hundred kills; COUNT, KILLS and SEED may be given, and what
# is interrupted goes on (docs/fuzzing.md).
fuzz: .venv/dev
	$(VENV)/python -m tools.fuzz --count $(or $(COUNT),10000) --seed $(or $(SEED),1)
	$(VENV)/python -m tools.fuzz --kills $(or $(KILLS),100) --seed $(or $(SEED),1)

lint: .venv/dev
	$(VENV)/ruff check . && $(VENV)/ruff format --check . && $(VENV)/mypy

bench: .venv/train
	$(VENV)/python bench/training_step.py
	$(VENV)/python bench/int8.py
	$(VENV)/python bench/pipeline.py
	$(VENV)/python bench/cpu_backends.py

# Accuracy and time beside other packages, the tables and the plot of them; DATA: FER2013, where it is not in
# fer2013/. face-api needs Node.js.
bench-peers: .venv/train
	$(VENV)/python bench/peers.py --data $(or $(DATA),fer2013) --results docs/results.csv
	$(VENV)/python tools/results_table.py
	$(VENV)/python tools/plot_pareto.py

# docs/ as a site in site/; a broken link stops it.
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build
	@echo "docs: open site/index.html"

.venv-docs/ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet -e '.[docs]'
	touch $@

.venv/train: pyproject.toml
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet -e '.[train]'
	touch $@

.venv/dev: .venv/train
	$(VENV)/python -m pip install --quiet -e '.[train,jax,dev]'
	touch $@

clean:
	rm -rf .venv .venv-peers .venv-oldest .venv-docs site build *.egg-info .pytest_cache .ruff_cache
