# Two commands do all: `make bench` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV := .venv/bin
DRAFT := recipes/smollm2-135m-instruct/draft
PROMPTS ?= 22
OUTPUT_LEN ?= 128
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help bench test quality format setup target clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## make or update the environment (.venv)
	@$(PYTHON) recipes/setup/environment.py

target: setup  ## prepare the embedded default target
	@$(VENV)/python recipes/setup/target.py > /dev/null

bench: target  ## serve the default target with and without LongSpec and print the table
	@$(VENV)/python -m eval.speed_bench --engine vllm \
	  --model "$$($(VENV)/python recipes/setup/target.py)" --draft $(DRAFT) \
	  --arms vanilla,longspec,ngram --dataset builtin --num-prompts $(PROMPTS) --concurrency 1 \
	  --output-len $(OUTPUT_LEN) --trace --output-dir results/bench $(BENCH)

test: target  ## run the whole suite: quality, unit, contract and engine tests
	@$(MAKE) --no-print-directory quality
	@$(VENV)/python -m pytest

quality:  ## lint, types and import rules
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

format:  ## format the code and fix what can be fixed
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

clean:  ## remove the environment and results
	rm -rf .venv results build dist *.egg-info
