# Everything but the environment itself is done by deploy/local; see `make help`.
# PYTHON=python3.13 make up   chooses the interpreter that .venv is made with.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv/bin
# An environment that is there is kept up to date by its own interpreter.
BOOTSTRAP := $(or $(PYTHON),$(shell test -x $(VENV)/python && echo $(VENV)/python || echo python3))
LOCAL := $(VENV)/python -m deploy.local
PACKAGES := shared $(notdir $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml)))
ON_EVERY_CORE := -n auto --dist worksteal
FILE_BY_FILE := -n auto --dist loadfile
WHOLE := tests/e2e tests/chaos tests/asvs
SOURCES := deploy services shared tests
COMPILE := $(VENV)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links

# A recipe ends with one plain command, so that make starts it without a shell and passes signals on to it.

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

up: environment ## start everything in the foreground; DETACH=1 in the background; SCALE="edge=2 auth=2" in replicas
	@$(LOCAL) up $(if $(DETACH),--detach)

down: environment ## stop everything
	@$(LOCAL) down

status: environment ## what runs, since when; exit code 3 when something does not
	@$(LOCAL) status

logs: environment ## follow the log; SERVICE=auth of one service
	@$(LOCAL) logs $(SERVICE)

dev: environment ## like up, and start a service anew when its source changes
	@$(LOCAL) dev

run: environment ## one service in the foreground: SERVICE=edge
	@$(LOCAL) run $(or $(SERVICE),$(error which one? make run SERVICE=edge))

key: environment ## an API key for trying things
	@$(LOCAL) key

admin-password: environment ## a new password for the first admin, or EMAIL=...
	@$(LOCAL) admin-password

agent-key: environment ## a key for an agent of type bus: AGENT=<its id or name>
	@$(LOCAL) agent-key

audit-key: environment ## a new key for the audit log's checkpoints; the log itself hands over to it
	@$(LOCAL) audit-key

test: environment ## unit, integration, end-to-end and chaos tests
	@$(VENV)/pytest $(ON_EVERY_CORE) tests/unit
	@$(VENV)/pytest $(FILE_BY_FILE) tests/integration
	@$(VENV)/pytest $(WHOLE)

# The whole system runs unmeasured, as its users run it: measured, each of its processes would take twice as long to start.
coverage: environment ## the same; of lines and branches, unit and integration tests cover at least 85 %
	@$(VENV)/coverage erase
	@$(VENV)/coverage run -m pytest $(ON_EVERY_CORE) tests/unit
	@$(VENV)/coverage run -m pytest $(FILE_BY_FILE) tests/integration
	@$(VENV)/pytest $(WHOLE)
	@$(VENV)/coverage combine --quiet
	@$(VENV)/coverage report --skip-covered --fail-under=85

check: environment ## format, lint, types, import rules
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy --strict $(SOURCES)
	@$(VENV)/lint-imports

format: environment ## put the code into its form
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

lock: environment ## choose versions anew, within what the pyprojects allow
	@$(COMPILE) --upgrade --group dev $(foreach package,$(PACKAGES),--no-emit-package peanut-$(package)) \
		-o deploy/locks/dev.txt pyproject.toml
	@echo uv | $(COMPILE) --constraint deploy/locks/dev.txt -o deploy/locks/uv.txt -

bench: environment ## how fast it is, on this machine; ARGS=--quick
	@$(VENV)/python -m tests.bench $(ARGS)

bench-large: environment ## the audit log with 10,000,000 entries: 15 GB of disk, half an hour
	@$(VENV)/python -m tests.bench --only audit-log --audit-entries 10000000 $(ARGS)

bench-peers: environment ## the same requests to LiteLLM and Portkey, which it installs; ARGS=--seconds=2
	@$(VENV)/python -m tests.bench.peers $(ARGS)

asvs: environment ## write docs/asvs.md anew: which test shows which requirement
	@$(VENV)/python -m tests.asvs

clean: ## remove the environment, peers of the benchmark and caches; .env and data stay
	@rm -rf .venv build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@$(BOOTSTRAP) deploy/local/bootstrap.py

.PHONY: help up down status logs dev run key admin-password agent-key audit-key test coverage check format lock bench bench-large bench-peers asvs \
	clean environment
