# One word per task; each makes its own virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := exeunt export client python_backends tests benchmarks deploy examples docs build_backend.py

.PHONY: demo test containers check fmt types bench compare clean help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/demo  ## four published models as a bag: export, serve on the real Triton, measure
	$(BIN)/exeunt demo

test: $(VENV)/installed  ## the whole test-suite, with the real server
	$(BIN)/python -m pytest

containers: $(VENV)/installed  ## images built and containers started on a docker engine of the tests' own (root, docker.io, mmdebstrap)
	$(BIN)/python -m pytest --override-ini addopts="--import-mode=importlib -ra" --override-ini faulthandler_timeout=900 tests/containers

check: $(VENV)/installed types  ## lint, format, types, deployment files
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.gpu.yml
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict docker-compose.yml docker-compose.gpu.yml deploy
	$(BIN)/python -m pytest -q -m 'not triton' tests/deploy/test_helm.py tests/deploy/test_kubectl.py tests/deploy/test_kserve.py \
		tests/deploy/test_custom_resources.py tests/deploy/test_balancer.py
	@if command -v promtool >/dev/null; then promtool check config deploy/prometheus/prometheus.yml \
		&& promtool test rules deploy/prometheus/alerts_test.yml; \
	else echo "SKIPPED: Prometheus rules (no promtool; Debian: apt-get install prometheus)"; fi

types: $(VENV)/installed
	$(BIN)/mypy
	$(BIN)/mypy deploy/fill_repository.py build_backend.py docs/rooms.py

fmt: $(VENV)/installed  ## format and sort imports
	$(BIN)/ruff check --fix --select I $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

compare: $(VENV)/installed  ## every tuner on every stream: writes docs/comparison.md
	$(BIN)/python -m benchmarks.comparison

bench: $(VENV)/installed  ## the serving benchmark on bags of published models and of glyphs: writes benchmarks/results/serving/
	$(BIN)/python -m benchmarks.serving

clean:  ## remove environment, caches and runs
	rm -rf $(VENV) build runs .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else f"exeunt needs Python 3.11 or 3.12, {sys.executable} is {v[0]}.{v[1]}; name one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/installed: $(VENV)/demo
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
