# make reproduce | test | lint | dashboard | studies | constraints
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 5000
SCALE ?= nano
# the pilot comes first: the others take their noise from it; extrapolation takes over position's runs
STUDIES := pilot norm norm_placement feed_forward position gpt3_vs_llama extrapolation tokens

# the pipeline's commands are found without activating the environment
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS = 1
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help reproduce test lint dashboard studies constraints

help:
	@echo "make reproduce   text to result page: installs, runs the pipeline (dvc repro), prints the result table"
	@echo "make test        installs, runs the whole test suite"
	@echo "make lint        ruff (lint and format) and mypy"
	@echo "make dashboard   MLflow's UI on the results, on http://localhost:$(PORT)"
	@echo "make studies     every study at SCALE=$(SCALE), resumable, then the results as CSV and docs/findings.md"
	@echo "make constraints regenerates constraints.txt from pyproject.toml's ranges"

# torch is installed first and pinned: an index that offers a CPU build is then used, instead of several GB of CUDA.
# pip is upgraded because the one that Python brings takes half as long again, and bytecode is compiled on all cores
# instead of by pip on one; a few packages carry files for another Python, which do not compile and are not needed.
$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (once; some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --no-compile -c constraints.txt torch
	@$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[dev,launchers]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

reproduce: $(STAMP)
	@$(BIN)/dvc repro
	@echo; cat reports/summary.txt; echo "page: reports/index.html"

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/ruff format --check src tests benchmarks
	@$(BIN)/mypy

dashboard: $(STAMP)
	@echo "MLflow: http://localhost:$(PORT)  (Ctrl-C stops it)"
	@$(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --port $(PORT)

studies: $(STAMP)
	@$(BIN)/llamalab data scale=$(SCALE)
	@set -e; for study in $(STUDIES); do $(BIN)/llamalab train -m experiments=$$study scale=$(SCALE); done
	@$(BIN)/llamalab report only_scale=$(SCALE) archive=experiments/results findings=docs/findings.md

# Resolves the ranges of pyproject.toml afresh in an empty environment and writes down what it got.
constraints:
	@rm -rf .constraints && $(PYTHON) -m venv .constraints
	@.constraints/bin/python -m pip install --quiet 'torch==2.13.0'
	@.constraints/bin/python -m pip install --quiet '.[dev,launchers]'
	@{ echo "# every pin of the environment that is tested; regenerate with: make constraints"; \
	   .constraints/bin/python -m pip freeze --exclude llamalab --exclude pip --exclude setuptools | sed 's/+cpu//; s/ @ file.*torch-\([0-9.]*\).*/==\1/'; \
	 } > constraints.txt
	@rm -rf .constraints
	@echo "constraints.txt: $$(grep -vc '^#' constraints.txt) pins"
