# The whole of the daily work. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup test lint format demo gpu clean

help: ## say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

setup: $(READY) ## make the environment .venv with solo-learn 1.0.2

$(READY): setup.py Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip "setuptools<81" wheel
	$(BIN)/pip install --quiet --editable ".[host,dali,test]"
	$(BIN)/pip install --quiet --no-deps solo-learn==1.0.2 lightning-bolts==0.7.0
	touch $@

test: $(READY) ## run the test suite, a file per core at a time
	$(BIN)/pytest --numprocesses auto --dist loadfile

lint: $(READY) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(READY) ## compare three methods over two seeds on generated data; a page (10 minutes)
	$(BIN)/solo-bayesncl demo

gpu: $(READY) ## on GPUs: the tests that need one, then the table gpu/table.md (10 minutes)
	$(BIN)/python benchmarks/gpu.py

clean: ## remove the environment and the demo
	rm -rf .venv demo
