# Two commands do all: `make bench` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV := .venv/bin
TARGET := $(VENV)/python recipes/setup/target.py
DRAFT := recipes/smollm2-135m-instruct/draft
# On a GPU set-up gives SGLang an environment of its own. Looked up late: set-up may just have made it.
SGLANG_PYTHON = $(shell ls .venv-sglang/bin/python 2> /dev/null || echo $(VENV)/python)

# The default measurement; for instance `make bench PROMPTS=44 BENCH="--rounds 2"`.
PROMPTS ?= 22
OUTPUT_LEN ?= 128
ARMS ?= vanilla,longspec,ngram
SGLANG_ARMS ?= vanilla,longspec,prompt_lookup
DTYPE ?= $(shell $(PYTHON) recipes/setup/dtype.py)
BENCH ?=
GPU ?=

# Two processes of a thread each: OpenMP's threads wait by spinning, and ruin each other's time. The
# engines' tests are the longest, so their three folders come first, each in a process.
PYTEST = OMP_NUM_THREADS=1 $(VENV)/python -m pytest --durations=25 --durations-min=15
WORKERS ?= -n 2 --no-loadscope-reorder

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
export VLLM_NO_USAGE_STATS ?= 1
# vLLM 0.32 on a CPU saves ahead-of-time compiled models that it cannot load again ("'function' object
# has no attribute 'finalize_loading'") and compiles at every start; its plain compile cache works.
export VLLM_USE_AOT_COMPILE ?= 0

.DEFAULT_GOAL := help
.PHONY: help bench bench-sglang test test-engine test-rest test-next matrix quality format setup setup-sglang target gpu gpu-more clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## make or update the environment (.venv)
	@command -v $(PYTHON) > /dev/null || { \
	  echo "setup: error: no $(PYTHON); install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("setup: error: " \
	  "Python %d.%d is too old; install 3.11 or newer and run make PYTHON=python3.12 ..." % v)'
	@$(PYTHON) recipes/setup/environment.py

setup-sglang: setup  ## the same with SGLang in it
	@$(PYTHON) recipes/setup/environment.py --engines vllm,sglang

target: setup  ## prepare the embedded default target (cached)
	@$(TARGET) > /dev/null

bench: target  ## serve the default target with and without LongSpec and print the table
	@$(VENV)/python -m eval.speed_bench --engine vllm --model "$$($(TARGET))" --draft $(DRAFT) \
	  --arms $(ARMS) --dataset builtin --num-prompts $(PROMPTS) --concurrency 1 \
	  --output-len $(OUTPUT_LEN) --dtype $(DTYPE) --trace --output-dir results/bench $(BENCH)

# Without a GPU SGLang runs here without its kernels, as nobody serves it: a test bed of the plugin.
bench-sglang: target setup-sglang  ## the same in SGLang; without a GPU this is a test bed
	@$(SGLANG_PYTHON) -m eval.speed_bench --engine sglang --model "$$($(TARGET))" --draft $(DRAFT) \
	  --arms $(SGLANG_ARMS) --dataset builtin --num-prompts $(PROMPTS) --concurrency 1 \
	  --output-len $(OUTPUT_LEN) --dtype $(DTYPE) --trace --output-dir results/bench-sglang $(BENCH)

test: setup-sglang target quality  ## run the whole suite: quality, then unit, contract and engine tests
	@$(PYTEST) $(WORKERS) tests/engine tests/contract tests/unit tests/gpu

test-engine: setup-sglang target  ## only the tests that run real engines
	@$(PYTEST) $(WORKERS) tests/engine

test-rest: setup-sglang target  ## all other tests
	@$(PYTEST) $(WORKERS) tests/contract tests/unit tests/gpu

test-next: target  ## the tests of Model Runner V2 on vLLM 0.33's Python, for which no CPU build exists
	@$(PYTHON) recipes/setup/other_version.py vllm==0.33.0
	@LONGSPEC_V2_PYTHON=$(CURDIR)/.venv-vllm-0.33.0/bin/python $(PYTEST) tests/engine/v2

matrix: setup-sglang target  ## all versions of both engines that have CPU builds, one after the other
	@$(VENV)/python -m recipes.matrix $(MATRIX)

quality: setup  ## lint, types and import rules
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy && $(VENV)/mypy recipes/smollm2-135m-instruct/*.py
	@$(VENV)/lint-imports

# For instance `make gpu GPU="--pieces cycle --resume"`. Without a GPU it says so in a line.
gpu: target  ## on a machine with an NVIDIA GPU, ten minutes: correctness, cost of a cycle, one table
	@$(VENV)/python -m recipes.gpu $(GPU)

gpu-more: setup-sglang target  ## there too, longer: all its tests, step and latency, both engines
	@$(PYTEST) tests/gpu
	@$(VENV)/python -m recipes.offline.step --shapes llama-3-8b --contexts "[128, 4096, 32768]" \
	  --tree-shape "[4, 16, 16, 16, 16]"
	@$(VENV)/python -m eval.latency_bench --size 1b --rep-ms 8000
	@$(VENV)/python -m eval.latency_bench --size 7b --rep-ms 8000
	@$(MAKE) bench bench-sglang

format: setup  ## format the code and fix what can be fixed
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

clean:  ## remove results and build folders; .venv and the cached target stay
	@rm -rf results build dist *.egg-info
