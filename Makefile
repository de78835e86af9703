# Everyday tasks; `make help` lists them.
PYTHON ?= python3
SOLO_LEARN ?= 1.0.2
LIGHTNING ?=
TORCH ?= pypi
TESTS ?=

ifeq ($(SOLO_LEARN),1.0.2)
ENV := .venv
else ifeq ($(SOLO_LEARN),main)
CHECKOUT := $(CURDIR)/.solo-learn
ENV := .venv-main
else
CHECKOUT := $(abspath $(SOLO_LEARN))
ENV := .venv$(subst /,+,$(CHECKOUT))
ifeq ($(wildcard $(CHECKOUT)/main_pretrain.py),)
$(error SOLO_LEARN=$(SOLO_LEARN) is not 1.0.2, main or the path of a checkout of solo-learn main)
endif
endif

ifneq ($(LIGHTNING),)
ifndef CHECKOUT
$(error solo-learn 1.0.2 supports one Lightning version only; LIGHTNING needs SOLO_LEARN=main or a path)
endif
ENV := $(ENV)+lightning-$(LIGHTNING)
endif

ifneq ($(PYTHON),python3)
ENV := $(ENV)+$(notdir $(PYTHON))
endif

ifeq ($(TORCH),cpu)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
else ifneq ($(TORCH),pypi)
$(error TORCH=$(TORCH) is not pypi or cpu)
endif
# DALI exists for Linux only, and brings CUDA libraries
EXTRAS := $(if $(TORCH_INDEX)$(filter-out Linux,$(shell uname -s)),test,dali,test)
DOWNLOADS := $(if $(findstring dali,$(EXTRAS)),about 4 GB (TORCH=cpu: 1 GB without CUDA libraries and DALI),about 1 GB)

ifdef CHECKOUT
export SOLO_LEARN_CHECKOUT := $(CHECKOUT)
endif

BIN := $(ENV)/bin
READY := $(ENV)/.ready
PIP := $(BIN)/pip install --quiet $(if $(MAKE_TERMOUT),--progress-bar on)

.PHONY: help setup test lint format dist demo bench gpu clean

help: ## list the targets
	@grep -hE '^[^ :]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([^ :]+):.*## (.*)/\1\t\2/' | expand -t 10
	@echo
	@echo "Variables of all targets that use an environment, e.g. make test SOLO_LEARN=main:"
	@echo "SOLO_LEARN=1.0.2  from PyPI (default); main (from GitHub); or the path of a checkout of main"
	@echo "LIGHTNING=X.Y.Z   instead of the Lightning version that solo-learn main pins"
	@echo "PYTHON=python3.N  interpreter of the environment (default python3)"
	@echo "TORCH=cpu         to set up without CUDA libraries and DALI: 1 GB instead of 4 GB to download"
	@echo "TESTS=...         arguments for pytest, to run part of the suite (test)"

setup: $(READY) ## create the environment: .venv, or another one as the variables require

$(READY): setup.py pyproject.toml Makefile $(if $(CHECKOUT),$(CHECKOUT)/setup.py)
	@echo "Creating the environment $(ENV): $(DOWNLOADS) to download, a few minutes."
	@$(PYTHON) -m venv --clear $(ENV)
	@$(PIP) --upgrade pip "setuptools>=77,<81" wheel
ifdef TORCH_INDEX
	@echo "Installing torch for the CPU"
	@$(PIP) torch torchvision --index-url $(TORCH_INDEX)
endif
ifdef CHECKOUT
	@echo "Installing this package and solo-learn from $(CHECKOUT), with all that they need"
	@$(PIP) --no-build-isolation --editable ".[h5,$(EXTRAS)]" --editable $(CHECKOUT)
	@$(if $(LIGHTNING),$(PIP) lightning==$(LIGHTNING))
else
	@echo "Installing this package and solo-learn 1.0.2, with all that they need"
	@$(PIP) --editable ".[host,$(EXTRAS)]"
	@$(PIP) --no-deps solo-learn==1.0.2 lightning-bolts==0.7.0
endif
	@echo "$(ENV) is ready: $(BIN)/solo-bayesncl --help"
	@touch $@

$(CURDIR)/.solo-learn/setup.py:
	git clone --quiet --depth 1 https://github.com/vturrisi/solo-learn $(@D)

test: $(READY) ## run the test suite, with one file at a time on each core
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(READY) ## check style, formatting, direction of imports and the GitHub workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(READY) ## fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(READY) ## build sdist and wheel into dist/ and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

demo: $(READY) ## compare three methods over five seeds on generated data; HTML report (10 minutes)
	$(BIN)/solo-bayesncl demo

bench: $(READY) ## run the benchmarks and write bench/table.md (20 minutes on a quiet machine)
	$(BIN)/python benchmarks/run.py

gpu: $(READY) ## run the GPU tests and write the table gpu/table.md (10 minutes)
	$(BIN)/python benchmarks/gpu.py

clean: ## remove the environments, the clone of solo-learn, builds, demo, bench and gpu
	rm -rf .venv .venv-* .venv+* .solo-learn build dist demo bench gpu
