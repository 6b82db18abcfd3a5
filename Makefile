# Every target sets up what it needs: on a fresh machine `make test` is enough.
# Needs Python 3.11 or newer; `make PYTHON=/path/to/python3.11 install` picks one.

PYTHON ?= python3
VENV ?= .venv
# Eight at most: torch's kernels here are small, and past a few threads they
# wait on each other.
CORES := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); echo $$((n > 8 ? 8 : n)))
# Threads of the long computations.
THREADS ?= $(CORES)
# Test processes side by side, each on one thread: two busy thread pools on the
# same cores are slower than one process alone.
WORKERS ?= $(CORES)
# Arguments passed on: `make test ARGS="-k battery"`, `make compare ARGS="--help"`.
ARGS ?=

# Of `make tune`: trials of each method, and seconds that each trains.
TRIALS ?= 8
SECONDS ?= 40

# Comparisons of `make learning`, by the names of their configurations.
LEARNING ?= learning20 learning100

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := feeders envs algorithms baselines experiments
SOURCES := gradmap $(PACKAGES) tests
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install compare study speed tune learning validate readme test test-slow lint format types \
  links bench docs dist clean

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## build .venv with exact versions, every extra and the gradmap command

# Repeated only when the dependencies change. torch comes first and alone, so
# that a machine with a CPU or CUDA build at hand takes that one.
$(STAMP): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gradmap needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1);" \
	    "give another: make PYTHON=python3.11 install" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[all,test,dev]"
	@touch $@

compare: $(STAMP) ## train every method on 1,000 agents and write results/quick/
	OMP_NUM_THREADS=$(THREADS) $(BIN)/gradmap compare $(ARGS)

# Finished runs are kept, so that each of these goes on where it was stopped.
study: $(STAMP) ## the long comparison, ten seeds, about a day; writes results/study/
	OMP_NUM_THREADS=$(THREADS) $(BIN)/gradmap compare study $(ARGS)

speed: $(STAMP) ## time to the target over five seeds; writes results/speed/
	OMP_NUM_THREADS=$(THREADS) $(BIN)/gradmap compare speed $(ARGS)

# Trials that are over are kept; a longer search (TRIALS=16) goes on from a shorter one.
tune: $(STAMP) ## search the settings of every method: TRIALS each, SECONDS a trial
	OMP_NUM_THREADS=1 $(BIN)/gradmap tune all --trials $(TRIALS) --budget.seconds $(SECONDS) $(ARGS)

# A method without figures (exit code 1) does not keep the others from theirs.
learning: $(STAMP) ## train IPPO and MAPPO over five seeds, draw curves, fill docs/marl.md
	@for name in $(LEARNING); do \
	  OMP_NUM_THREADS=$(THREADS) $(BIN)/gradmap compare $$name $(ARGS) \
	    || [ $$? -eq 1 ] || exit 1; \
	done
	$(BIN)/gradmap curves $(addprefix results/,$(LEARNING)) --docs docs

validate: $(STAMP) ## compare the power flow with OpenDSS on every bundled feeder
	OMP_NUM_THREADS=$(THREADS) $(BIN)/gradmap validate $(ARGS)

# The tables of the last `make compare`, and of a fresh validation.
readme: $(STAMP) ## put the measured tables into README.md
	OMP_NUM_THREADS=$(THREADS) $(BIN)/gradmap validate --json results/validate.json
	$(BIN)/python -m gradmap.experiments.readme $(ARGS)

bench: $(STAMP) ## time power flow, large feeders, environment, learning, RLlib, one thread
	OMP_NUM_THREADS=1 $(BIN)/gradmap bench $(ARGS)

test: $(STAMP) ## run the tests, less than 8 minutes on two cores
	$(PYTEST) $(ARGS)

test-slow: $(STAMP) ## run the long tests, those marked slow
	$(PYTEST) -m slow $(ARGS)

lint: $(STAMP) ## check style and layout with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## lay the code out as lint wants it, mending what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) links ## check the library's types with mypy --strict
	cd .types && ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p gradmap

# Tools that read files do not follow setup.cfg's package_dir: they get a folder
# of links laid out as the installed package is. mypy starts in it, as it looks
# in the working directory first.
links:
	@rm -rf .types && mkdir -p .types/gradmap
	@ln -s $(addprefix ../../gradmap/,__init__.py py.typed) \
	  $(addprefix ../../,$(PACKAGES)) .types/gradmap/

docs: $(STAMP) links ## build the documentation into build/site/
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(STAMP) ## build the source archive and the wheel into dist/
	rm -rf build dist gradmap.egg-info
	$(BIN)/python -m build --quiet

clean: ## remove what make builds, .venv, runs/ and results/ excepted
	rm -rf .types build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -type d -name __pycache__ -exec rm -rf {} +
