# LoopDrive: `make run` plays the loop, `make test` tests it; both make their environment first.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed
CONFIG ?=
MESSAGES ?= 100000
SEED ?=
WITH_CONFIG := $(if $(CONFIG),--config $(CONFIG),)

.PHONY: run dev test verify chaos check bench format lock notebook clean

run: $(INSTALLED)  ## Two days of the simulated market, from nothing
	@$(BIN)/loopdrive run --days 2 $(WITH_CONFIG)

dev: $(INSTALLED)  ## The Dagster UI and the gateway on the same data
	@$(BIN)/loopdrive dev $(WITH_CONFIG)

test: $(INSTALLED)  ## All tests but the long truth tests
	@$(BIN)/python -m pytest -m "not verify"

verify: $(INSTALLED)  ## The long truth tests
	@$(BIN)/python -m pytest -m verify

chaos: $(INSTALLED)  ## 100,000 messages sent while everything fails at random; MESSAGES=, SEED=
	@$(BIN)/python -m tests.chaos --messages $(MESSAGES) $(if $(SEED),--seed $(SEED),)

check: $(INSTALLED)  ## Style, types, SQL, dbt project and Dagster definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models dbt_project/tests
	$(BIN)/dbt --quiet parse --project-dir dbt_project --profiles-dir dbt_project
	@$(BIN)/dagster --version >/dev/null && env -i PATH="$$PATH" HOME="$$HOME" PYTHONWARNINGS=ignore::FutureWarning $(BIN)/dagster definitions validate -w workspace.yaml --log-level warning

bench: $(INSTALLED)  ## Ratios against bare baselines; writes docs/benchmarks.md
	@$(BIN)/python -m bench

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## requirements.txt from pyproject.toml
	uv pip compile --generate-hashes --python-version 3.11 --extra dev pyproject.toml -o requirements.txt

notebook: $(INSTALLED)  ## Execute the tour of the warehouse on the workspace's data
	@$(BIN)/python -m notebooks

clean:  ## Stop the embedded server and remove what the project made here
	@if [ -x $(BIN)/loopdrive ]; then $(BIN)/loopdrive stop; fi
	rm -rf .venv .loopdrive dbt_project/target

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "LoopDrive needs Python 3.11 to 3.13; name one with make PYTHON=…"; exit 1; }
	@echo "Making the environment in .venv (once; a few minutes without uv) …"
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python \
			--require-hashes -r requirements.txt && \
		uv pip install --quiet --python $(BIN)/python --no-deps -e . ; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt && \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e . ; \
	fi
	@$(BIN)/dbt --quiet parse --project-dir dbt_project --profiles-dir dbt_project
	@touch $(INSTALLED)
