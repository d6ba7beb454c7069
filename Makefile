# The commands of this repository; `make help` lists them. Only python3 (3.11 or newer) and make have to be there:
# everything else is installed into .venv and web/node_modules, or by apt where the tests need a program.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
ASSETS := signaling/peerbus/signaling/web/manifest.json
# Folders are listed too: their time changes when a file goes.
WEB_SOURCES := web/build.mjs $(shell find web/src web/static web/scripts web/tsconfig.json web/tsconfig.sdk.json 2>/dev/null)
WITH_NODE = PATH="$$(scripts/node-path.sh):$$PATH" && cd web &&
SCHEMA := web/src/sdk/protocol/schema.json

.PHONY: help run test check unit web-test e2e bench soak web wheel generate fix constraints clean distclean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

run: .venv/.installed $(ASSETS) ## starts the server on http://localhost:8080; settings by PEERBUS_*, flags by ARGS="..."
	@exec $(BIN)/peerbus serve $(ARGS)

test: ## everything that must hold: checks, unit and integration tests, the web side, real browsers
	@scripts/test-machine.sh
	@$(MAKE) --no-print-directory check unit web-test e2e

# --- the parts of `make test` ---------------------------------------------------------------------------------

check: .venv/.installed-dev web/node_modules/.installed-dev ## formatting, lint, types, import contracts, generated files
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m peerbus.protocol.schema --check $(SCHEMA)
	$(WITH_NODE) node scripts/generate-protocol.mjs --check && npm run --silent check

# Tests wait more than they work, so there are more processes than a small machine has cores. The longest files go
# first: with one of them last, the other processes would wait for it.
unit: .venv/.installed-dev $(ASSETS) ## unit and integration tests, in Python
	$(BIN)/pytest tests/soak tests/integration tests --ignore=tests/e2e \
	    --numprocesses 4 --dist loadfile --no-loadscope-reorder

web-test: .venv/.installed-dev web/node_modules/.installed-dev ## unit tests of the web side
	$(WITH_NODE) npm test --silent

e2e: .venv/.installed-dev $(ASSETS) ## tests in Chromium and Firefox, in a network of their own
	scripts/in-loopback-namespace.sh $(BIN)/pytest tests/e2e -m "not alone" \
	    --numprocesses 2 --dist loadfile --no-loadscope-reorder
	scripts/in-loopback-namespace.sh $(BIN)/pytest tests/e2e -m alone

# --- longer runs ----------------------------------------------------------------------------------------------

bench: .venv/.installed-dev $(ASSETS) ## measures; prints the machine and the numbers
	@missed=0; for program in tests/bench/[a-z]*.py; do \
	    name=$$(basename "$$program" .py); echo "== $$name"; $(BIN)/python -m "tests.bench.$$name" || missed=1; \
	done; exit $$missed

soak: .venv/.installed-dev $(ASSETS) ## the long versions of the tests that have one; results go to tests/soak/results
	$(BIN)/python -m tests.soak $(ARGS)

# --- building -------------------------------------------------------------------------------------------------

web: .venv/.installed $(ASSETS) ## builds the SDK and the pages

wheel: .venv/.installed-dev $(ASSETS) ## builds the source distribution and the wheel into dist/
	$(BIN)/python -m build

generate: .venv/.installed web/node_modules/.installed ## writes the JSON Schema of the wire and the TypeScript made from it
	$(BIN)/python -m peerbus.protocol.schema $(SCHEMA)
	$(WITH_NODE) node scripts/generate-protocol.mjs

fix: .venv/.installed-dev web/node_modules/.installed-dev ## formats, and mends what the linters can mend
	$(BIN)/ruff check -q --fix . || true
	$(BIN)/ruff format -q .
	$(WITH_NODE) npm run --silent fix

constraints: ## writes constraints.txt anew, from the newest versions that pyproject.toml allows
	scripts/freeze.sh

clean: ## removes what was built, and caches
	rm -rf build dist web/dist signaling/peerbus/signaling/web
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './web/node_modules/*' -prune -exec rm -rf {} +

distclean: clean ## removes what was installed into this folder, too
	rm -rf .venv web/node_modules

# --- stamps: what is up to date is not done again --------------------------------------------------------------

$(BIN)/python:
	@echo "Making .venv ..."
	@scripts/make-venv.sh

.venv/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing peerbus into .venv ..."
	@$(PIP) -e .
	@touch $@

.venv/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing peerbus and its tools into .venv ..."
	@$(PIP) -e '.[dev]'
	@touch .venv/.installed $@

web/node_modules/.installed: web/package.json web/package-lock.json web/.npmrc | .venv/.installed
	@echo "Installing what the web build needs ..."
	@$(WITH_NODE) npm ci $$(test -d node_modules/vitest || echo --omit=dev) --ignore-scripts --loglevel=error
	@touch $@

web/node_modules/.installed-dev: web/package.json web/package-lock.json web/.npmrc | .venv/.installed
	@echo "Installing the tools of the web side ..."
	@$(WITH_NODE) npm ci --ignore-scripts --loglevel=error
	@touch web/node_modules/.installed $@

$(ASSETS): web/node_modules/.installed $(WEB_SOURCES) pyproject.toml
	@$(WITH_NODE) node build.mjs
