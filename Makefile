# make run, make test and make demo are all a newcomer needs; each makes the environment first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test chaos fuzz soak demo install install-dev migrate lint audit bench facecloud clean

run: install
	@$(BIN)/python -m service.cli.first_run
	@$(BIN)/flask database upgrade
	@$(BIN)/gunicorn

demo: install
	@$(BIN)/python -m samples.demo

test: install-dev
	$(BIN)/pytest -n 4 --dist loadfile

# Everything that make test does in short, in long: some 40 minutes.
chaos: install-dev
	CHAOS_ROUNDS=200 RACES_ROUNDS=1000 OUTAGE_SECONDS=600 $(BIN)/pytest -s \
	  tests/test_chaos.py tests/test_races.py tests/test_outages.py

soak: install-dev
	$(BIN)/python -m benchmarks.soak

fuzz: install-dev
	MUTATIONS=20000 EXAMPLES=100 $(BIN)/pytest -s tests/test_hostile.py tests/test_openapi.py

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint --failure-threshold warning Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

# Needs the internet, so it is no part of `lint`.
audit: install-dev
	$(BIN)/pip-audit -r requirements.txt --no-deps --disable-pip

bench: install-dev
	@for name in local_engine engine_import pipeline upload show_task recordings pictures; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

facecloud: install
	@$(BIN)/python -m devtools.facecloud_emulator

migrate: install
	@$(BIN)/flask database upgrade

install: .venv/installed
install-dev: .venv/installed-dev

# uv does in seconds what pip does in half a minute; either will do.
.venv/bin/python:
	@if command -v uv >/dev/null; then UV_PYTHON_DOWNLOADS=never uv venv --quiet --seed --python $(PYTHON) .venv; \
	else $(PYTHON) -m venv .venv; fi

.venv/installed: requirements.txt | .venv/bin/python
	@if command -v uv >/dev/null; then uv pip install --quiet --python .venv -r $<; \
	else $(BIN)/pip install --quiet --disable-pip-version-check -r $<; fi
	@touch $@

.venv/installed-dev: requirements.txt requirements-dev.txt | .venv/bin/python
	@if command -v uv >/dev/null; then uv pip install --quiet --python .venv -r requirements-dev.txt; \
	else $(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt; fi
	@touch .venv/installed $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
