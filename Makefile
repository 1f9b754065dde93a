# One command each for the main job and the tests; all set-up happens inside.
# PYTHON is what makes .venv; TESTS and PYTEST_ARGS narrow `make test`, WORKERS is how many tests
# it runs at once; PYTEST_ARGS is also for `make engines`, BENCH_ARGS for `make bench`,
# SOAK_ARGS `make soak`; IMAGE and VARIANT (cpu, cuda or gateway) say what `make image` makes.

SHELL := /bin/sh
PYTHON ?= python3
UV ?= uv
export PROMPT ?= Give me three names for a friendly robot.
TESTS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
BENCH_ARGS ?=
SOAK_ARGS ?=
export IMAGE ?=
export VARIANT ?=

BIN := .venv/bin
CODE := server toolkit templates tests notebooks

# Settings of somebody's other environment do not belong in ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help start test engines lab web docs stop bench soak image image-test lint lock set-up \
	set-up-tests

help:  ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' $(MAKEFILE_LIST) | while read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

set-up:
	@$(PYTHON) -I toolkit/preflight.py version
	@$(PYTHON) -I toolkit/bootstrap.py server notebook

set-up-tests:
	@$(PYTHON) -I toolkit/preflight.py version browser node
	@$(PYTHON) -I toolkit/bootstrap.py server notebook dev

start: set-up  ## A private endpoint on this machine, and one answer from it
	@$(BIN)/akash-llm models pull smollm2:135m
	@$(BIN)/akash-llm notebook run 04_deploy -p target=local -p name=local
	@printf '\n> %s\n' "$$PROMPT"
	@$(BIN)/akash-llm chat local --once "$$PROMPT" --max-tokens 120
	@printf '\n'
	@$(BIN)/akash-llm status
	@printf '\n%s\n%s\n' \
		'make lab    opens the chat and benchmark panels in JupyterLab' \
		'make stop   stops the endpoint'

# A file is one worker's, in the order of their names: the long ones are not last.
test: set-up-tests  ## Every test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		$(PYTEST_ARGS) $(TESTS)

# Neither looks anything up on the network: no news, no catalogue of extensions.
lab: set-up  ## JupyterLab on the notebooks, for this machine only
	@$(BIN)/jupyter labextension disable --level=sys_prefix \
		'@jupyterlab/apputils-extension:announcements' >/dev/null 2>&1
	@$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=notebooks \
		--LabApp.extension_manager=readonly \
		$(if $(filter 0,$(shell id -u)),--allow-root)

# On loopback, with a token that it makes; what a page may load says notebooks/voila.json.
web: set-up  ## The notebooks as web pages without code, for this machine only
	@cd notebooks && JUPYTER_PATH='$(CURDIR)/templates' ../$(BIN)/voila

docs: set-up  ## Every notebook, run with its defaults, as web pages in build/docs
	@$(BIN)/akash-llm models pull smollm2:135m
	@$(BIN)/akash-llm notebook book --out build/docs

stop:  ## Stop the local endpoints
	@if [ -x $(BIN)/akash-llm ]; then $(BIN)/akash-llm down --all; \
	else echo 'nothing is set up here, so nothing runs'; fi

engines: set-up-tests  ## The API over a real vLLM, which it installs; the table of what differs
	@$(BIN)/python -m tests.engines $(PYTEST_ARGS)

bench: set-up-tests  ## Speed and memory against other servers, as ratios
	@$(BIN)/python -m tests.performance $(BENCH_ARGS)

soak: set-up-tests  ## An hour of mixed load with kills and cancels: no wrong answer, no growth
	@$(BIN)/python -m tests.soak $(SOAK_ARGS)

image:  ## An image of the server, built and pushed: make image IMAGE=REGISTRY/akash-llm-server:TAG
	@$(PYTHON) -I toolkit/image.py "$$IMAGE" "$$VARIANT"

image-test: set-up-tests  ## The image with llama.cpp compiled as in it, for any processor
	@IMAGE_TESTS=all $(BIN)/python -m pytest tests/image $(PYTEST_ARGS)

lint: set-up-tests  ## Style, types and the arrows between modules
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/nbstripout --verify notebooks/*.ipynb

lock:  ## Choose the versions anew (needs uv)
	@$(UV) pip compile --universal --python-version 3.11 --all-extras --upgrade --quiet \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--output-file requirements.lock pyproject.toml
