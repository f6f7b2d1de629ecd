# make serve   sets everything up and runs the server       make test    sets everything up and tests
# make check   what CI runs                                 make migrate brings DATABASE_URL to this code
# make bench   figures, ours beside others', takes long     make bench-quick two minutes of it
# The environment is made with plain pip, from hash-locked requirements, once per change of these.

SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes
SOURCES := app.py settings.py context.py auth background bench compiler db live resolvers schema server web tools tests alembic

.PHONY: serve test check migrate graphiql bench bench-quick bench-lock format lint types sdl lock clean

serve: $(VENV)/.runtime
	@exec $(PYTHON) app.py serve --ends-with $$PPID

migrate: $(VENV)/.runtime
	@$(PYTHON) app.py migrate

graphiql: $(VENV)/.runtime
	@$(PYTHON) tools/fetch_graphiql.py

test: $(VENV)/.dev
	@$(PYTHON) -m pytest $(PYTEST)

# Models and migrations are compared by tests/test_migrations.py, on the database that they run on.
check: lint types sdl
	@STRICT_TESTS=1 $(MAKE) --no-print-directory test

format: $(VENV)/.dev
	@$(PYTHON) -m ruff format $(SOURCES)
	@$(PYTHON) -m ruff check --fix $(SOURCES)

lint: $(VENV)/.dev
	@$(PYTHON) -m ruff format --check $(SOURCES)
	@$(PYTHON) -m ruff check $(SOURCES)

types: $(VENV)/.dev
	@$(PYTHON) -m mypy .

sdl: $(VENV)/.dev
	@$(PYTHON) tools/export_sdl.py --check

# Figures, on a PostgreSQL that is thrown away; BENCH_DATABASE_URL names another.
bench: $(VENV)/.dev
	@$(PYTHON) bench/compare.py --readme $(BENCH)
	@$(PYTHON) bench/activity.py
	@$(PYTHON) bench/compiled.py
	@$(PYTHON) bench/sign_ins.py
	@$(PYTHON) bench/sign_in_times.py
	@$(PYTHON) bench/sockets.py
	@ROWS=$${ROWS:-1000000} $(PYTHON) bench/growth.py

bench-quick: $(VENV)/.dev
	@$(PYTHON) bench/compare.py --quick $(BENCH)

# The contenders' lock files, anew.
bench-lock: $(VENV)/.dev
	@$(PYTHON) bench/locks.py

# Locks without registry hosts; uv writes them, pip reads them.
lock: $(VENV)/.dev
	$(PYTHON) -m uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate --quiet -o requirements.lock $(LOCK)
	$(PYTHON) -m uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-header --no-annotate --quiet -c requirements.lock -o requirements-dev.lock $(LOCK)

# Root's data stand outside the clone: they go first, even if that needs an environment made anew.
clean:
	@if [ -d .state ]; then [ -x $(PYTHON) ] || sh tools/make_venv.sh $(VENV); $(PYTHON) tools/remove_data.py; fi
	@rm -rf $(VENV) .state .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.runtime: requirements.lock | $(VENV)/bin/python
	@echo "Installing what the server needs …"
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock requirements.lock | $(VENV)/bin/python
	@echo "Installing what the server and its tests need …"
	@$(PIP) -r requirements-dev.lock
	@touch $@ $(VENV)/.runtime

$(VENV)/bin/python:
	@sh tools/make_venv.sh $(VENV)
