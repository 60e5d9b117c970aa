# `make demo` reproduces the embedded study, `make test` runs the tests. Both build `.venv` first.
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# Keep libraries from looking for the Hugging Face hub or a display; nothing here needs them.
export HF_HUB_OFFLINE = 1
export MPLBACKEND = Agg
# As in bigain/cli/forkserver.py: glibc keeps the memory of large tensors.
export MALLOC_TRIM_THRESHOLD_ = 1073741824
export MALLOC_MMAP_THRESHOLD_ = 1073741824

.PHONY: demo showcase test test-system test-slow lint short bench bench-gpu docs clean

demo: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES)
	@echo "Open reports/mini/index.html"

test: $(INSTALLED)
	$(BIN)/pytest -m "not slow and not system" --numprocesses 2 --dist worksteal --durations=10

test-system: $(INSTALLED)
	$(BIN)/pytest -m system --numprocesses 2 --dist loadfile --durations=10 --timeout 2400

test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow --durations=10 --timeout 7200

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check --diff Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/short.yaml

# A study of a few minutes, from config to page, as CI runs it.
short: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --configfile config/short.yaml

# All tables, figures and the page of the study in docs/, from its committed outcomes: no model runs.
OUTCOMES ?= docs/decisive/outcomes
showcase: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --forceall --snakefile workflow/outcomes.smk --config outcomes=$(OUTCOMES)

# This code, a plain loop, diffusers and tomesd, timed in turns on this machine; docs/performance.md explains the numbers.
bench: $(INSTALLED)
	$(BIN)/python -m bench results/bench

# On a machine with a GPU: are the results right and repeatable bit for bit, and how fast? Within MINUTES, by importance.
MINUTES ?= 8
bench-gpu: $(INSTALLED)
	$(BIN)/python -m bench.gpu results/gpu --minutes $(MINUTES)

# The Markdown pages, and the API reference from the docstrings.
docs: $(INSTALLED)
	$(BIN)/python docs/site/build.py build/docs
	@echo "Open build/docs/index.html"

$(INSTALLED): envs/requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11, 4), "Python 3.11.4 or newer is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) .snakemake build/docs
	find results reports -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
