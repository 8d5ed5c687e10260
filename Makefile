# make run, make test and make demo are all a newcomer needs; each makes the environment first.
PYTHON ?= python3
BIN := .venv/bin
# Each of several test processes would compile all tests again, where the shell keeps Python from noting what it compiled.
unexport PYTHONDONTWRITEBYTECODE
# What is passed on to pytest, such as ARGS="tests/test_tasks.py -k retry".
ARGS ?=

.PHONY: help run demo test test-fast chaos interop soak fuzz scale bench bench-all lint format lock audit sbom wheel facecloud \
  migrate install install-dev clean

help: ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

run: install ## Generates a password, makes the database, serves on http://localhost:8000.
	@$(BIN)/python -m service.cli.first_run
	@$(BIN)/flask database upgrade
	@$(BIN)/gunicorn

demo: install ## Starts a service of its own, sends it the photos in samples/, prints the faces.
	@$(BIN)/python -m samples.demo

test: install-dev ## Runs all tests, or what ARGS says.
	$(BIN)/pytest -n 4 --dist loadfile $(ARGS)

test-fast: install-dev ## Runs the tests that need no server, browser or broker.
	$(BIN)/pytest -n 3 --dist loadfile -m "not server" $(ARGS)

chaos: install-dev ## Runs the tests of crashes, races, outages and clocks in all their cases, more than an hour.
	FULL_MATRIX=1 CHAOS_ROUNDS=200 RACES_ROUNDS=1000 OUTAGE_SECONDS=600 OUTAGE_CASES=1000 KILLS=100 $(BIN)/pytest -s \
	  tests/test_chaos.py tests/test_races.py tests/test_outages.py tests/test_processes.py tests/test_clock_jumps.py \
	  tests/test_celery.py tests/test_workers.py tests/test_retention.py tests/test_stopping.py tests/test_shortage.py \
	  tests/test_memory.py

interop: install-dev ## Runs the tests beside Ray, Dask and Firefox, which it installs: 1 GB; needs npm.
	$(BIN)/python -m pip install --quiet "ray[data]==2.60.0" dask==2026.8.0
	@# Without newman here, npm would remove it.
	npm install --no-save --silent puppeteer-core@25.16.0 newman@6.2.1
	command -v firefox-esr >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends firefox-esr; }
	$(BIN)/pytest -o addopts=-ra tests/interop

scale: install-dev ## Shows tasks of 1,000 and 10,000 photos on the page, then analyzes a folder of a million: an hour.
	PAGE_PHOTOS=1000,10000 PAGE_CROWDS=100 PAGE_WALK=300 $(BIN)/pytest -s tests/test_page_scale.py
	$(BIN)/python -m benchmarks.folder 1000000

soak: install-dev ## Sends twenty thousand photos in a row.
	$(BIN)/python -m benchmarks.soak

fuzz: install-dev ## Sends twenty thousand damaged files, by every way in.
	MUTATIONS=20000 EXAMPLES=100 $(BIN)/pytest -s tests/test_hostile.py tests/test_openapi.py

bench: install-dev ## Compares the speed with an earlier commit, bare loops, lame and sharp, in a quarter of an hour.
	@if command -v npm >/dev/null; then npm install --no-save --silent --prefix .cache/sharp sharp@0.35.5 || true; fi
	@command -v lame >/dev/null || echo "The program lame is not installed: apt-get install lame." >&2
	$(BIN)/python -m benchmarks.comparison

bench-all: install-dev ## Runs the other benchmarks, each with its bar; some take long.
	@for name in local_engine engine_import pipeline show_task pictures recordings audits; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

lint: install-dev ## Runs the linters.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry service
	$(BIN)/deptry tests benchmarks devtools scripts samples --ignore DEP002,DEP004
	$(BIN)/hadolint --failure-threshold warning Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: install-dev ## Formats the code, and corrects what ruff can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The locks hold for every platform and Python from 3.11 on. Versions stay as they are, unless with LOCK="--upgrade".
LOCK ?=
LOCK_COMMAND = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" $(LOCK)

# Ray's 740 MB are for those with a cluster, whose version it must have.
LOCKED_EXTRAS = --extra postgres --extra s3 --extra celery --extra parquet

lock: ## Writes both locks from pyproject.toml; needs uv.
	$(LOCK_COMMAND) $(LOCKED_EXTRAS) pyproject.toml --output-file requirements.txt
	$(LOCK_COMMAND) $(LOCKED_EXTRAS) pyproject.toml --group dev --constraints requirements.txt --output-file requirements-dev.txt

audit: install-dev ## Asks a public advisory service about every locked package; needs the internet.
	$(BIN)/pip-audit --requirement requirements-dev.txt --require-hashes --disable-pip --strict --progress-spinner off

sbom: install-dev ## Writes what the service is made of to sbom.json, in CycloneDX.
	$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible --output-file sbom.json

wheel: ## Builds the package into dist/; needs uv.
	uv build --wheel --out-dir dist .

facecloud: install ## Runs a stand-in for FaceCloud.
	@$(BIN)/python -m devtools.facecloud_emulator

migrate: install ## Brings the database's tables up to date.
	@$(BIN)/flask database upgrade

install: .venv/installed
install-dev: .venv/installed-dev

# uv does in seconds what pip does in half a minute; either will do.
.venv/bin/python:
	@if command -v uv >/dev/null; then UV_PYTHON_DOWNLOADS=never uv venv --quiet --seed --python $(PYTHON) .venv; \
	else $(PYTHON) -m venv .venv; fi

define install_from
	@if command -v uv >/dev/null; then uv pip install --quiet --python .venv --require-hashes -r $<; \
	else $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<; fi
endef

.venv/installed: requirements.txt | .venv/bin/python
	$(install_from)
	@touch $@

.venv/installed-dev: requirements-dev.txt requirements.txt | .venv/bin/python
	$(install_from)
	@touch .venv/installed $@

clean: ## Removes the environment, the caches and what was built.
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist sbom.json
