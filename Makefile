# Two commands matter: `make demo` and `make test`. Each installs what it needs, from the lock files, into .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(if $(shell command -v $(name)),$(name))))
export PYTHON
demo bench loadtest: export SHEPHERD_STATE ?= $(CURDIR)/.shepherd

BIN := .venv/bin
UV := UV_PYTHON_DOWNLOADS=never $$(requirements/bootstrap-uv)
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --build-constraints requirements/build.txt
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
FAST_TESTS := tests/architecture tests/unit tests/laws tests/contract

##@ Run
setup: .venv/installed ## install everything from the lock file; .venv/bin/shepherd is the command

demo: setup ## two models, a canary, a shadow and replayed flights, live in the terminal; Ctrl-C ends it
	exec $(BIN)/python -m demo.main

demo-drift: setup ## March to December against the model of January and February: Warning, Critical, a retraining is asked for
	exec $(BIN)/python -m demo.drift

##@ Check
test: setup triton-venv mlflow-venv ## all tests; as root it installs Chromium for those of the web page, which else are skipped
	@command -v chromium >/dev/null || requirements/chromium
	$(BIN)/pytest --numprocesses 2 --no-loadscope-reorder

triton-venv: .triton-venv/installed ## a real Triton for the tests marked `triton`, in an environment of its own

mlflow-venv: .mlflow-venv/installed ## a real MLflow server for the tests marked `mlflow`, in an environment of its own

check: setup ## format, lint, types, import contracts, architecture, unit, law and contract tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(FAST_TESTS)

conformance: setup ## every public method of the stock clients against a live gateway; writes docs/conformance.md
	$(BIN)/python -m tests.conformance

fuzz: .venv/fuzz-installed ## readers of bytes and both APIs against random input, for some minutes (FUZZ="--seconds 600")
	$(BIN)/python -m tests.fuzz $(FUZZ)

##@ Measure
bench: setup ## throughput and latency against a bare uvicorn + onnxruntime app; needs wrk
	exec $(BIN)/python -m loadtests.bench

bench-peers: setup triton-venv ## the same beside Triton, MLServer, LitServe, BentoML and plain Ray Serve; needs wrk
	exec $(BIN)/python -m loadtests.peers

loadtest: .venv/loadtest-installed ## a short headless Locust run against a gateway that it starts
	exec $(BIN)/python -m loadtests.run

gpu-check: ## a model on CUDA through the gateway beside onnxruntime in a loop; skips without a GPU
	@if command -v nvidia-smi >/dev/null; then $(MAKE) --quiet .gpu-venv/installed; \
	  exec .gpu-venv/bin/python -m loadtests.model_bound --provider cuda; \
	else echo "no nvidia-smi, so no NVIDIA GPU here: skipped"; fi

##@ Maintain
format: setup ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## renew requirements/*.txt: pinned versions and hashes, no addresses (UPGRADE=1 takes newer versions)
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/triton.in -o requirements/triton.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/mlflow.in -o requirements/mlflow.txt
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/build.in -o requirements/build.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra cpu --extra demo --extra dev --extra export -o requirements/dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra cpu --extra triton --extra export -c requirements/dev.txt -o requirements/cpu.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra gpu --extra triton --extra export -c requirements/dev.txt -o requirements/gpu.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml requirements/gpu-check.in --extra gpu -c requirements/gpu.txt -c requirements/dev.txt -o requirements/gpu-check.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra cpu --extra demo --extra loadtest -c requirements/dev.txt -o requirements/loadtest.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra cpu --extra fuzz -c requirements/dev.txt -o requirements/fuzz.txt
	! grep -nE '://|^(-i|--(extra-)?index|--find-links)' requirements/*.txt

clean: ## remove what was built; the state directory stays
	rm -rf .venv .triton-venv .mlflow-venv .gpu-venv .uv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: bench-peers gpu-check setup demo test check conformance fuzz bench loadtest format lock clean help triton-venv mlflow-venv

.venv/installed: requirements/dev.txt requirements/build.txt requirements/uv.txt pyproject.toml
	$(if $(PYTHON),,$(error no Python found: install Python 3.11, 3.12 or 3.13))
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(INSTALL) --require-hashes -r requirements/dev.txt
	$(INSTALL) --no-deps --editable .
	touch $@

.triton-venv/installed: requirements/triton.txt requirements/uv.txt
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .triton-venv
	$(UV) pip install --quiet --python .triton-venv/bin/python --require-hashes -r requirements/triton.txt
	touch $@

.mlflow-venv/installed: requirements/mlflow.txt requirements/uv.txt
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .mlflow-venv
	$(UV) pip install --quiet --python .mlflow-venv/bin/python --require-hashes -r requirements/mlflow.txt
	touch $@

.gpu-venv/installed: requirements/gpu-check.txt requirements/build.txt requirements/uv.txt pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .gpu-venv
	$(UV) pip install --quiet --python .gpu-venv/bin/python --require-hashes -r requirements/gpu-check.txt
	$(UV) pip install --quiet --python .gpu-venv/bin/python --build-constraints requirements/build.txt --no-deps --editable .
	touch $@

.venv/loadtest-installed: .venv/installed requirements/loadtest.txt
	$(INSTALL) --require-hashes -r requirements/loadtest.txt
	touch $@

.venv/fuzz-installed: .venv/installed requirements/fuzz.txt
	$(INSTALL) --require-hashes -r requirements/fuzz.txt
	touch $@
