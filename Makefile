# Everything a newcomer types. Each command sets up what it needs; nothing comes before it but Python and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test check client docs load lock browser servers clean \
	tests-in-browser-and-world tests-of-the-slow tests-from-a-to-f tests-from-g-to-p tests-from-q-to-z

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 21

demo: $(READY)  ## a PostgreSQL, the service, and a page with live bars (DEMO="--jobs 20" adds simulated jobs)
	@$(BIN)/progress-service demo $(DEMO)

demo-cluster: $(READY)  ## PostgreSQL, NATS, two relays and three edges behind Caddy, and a page to break them from
	@$(BIN)/python examples/cluster/play.py $(DEMO)

test: $(READY) browser servers  ## every test, with a real PostgreSQL and a real Chromium (TESTS="tests/test_reducer.py" for some)
ifdef TESTS
	@$(BIN)/python -m pytest $(TESTS)
else
	@$(MAKE) --no-print-directory --jobs 5 --output-sync=target \
		tests-in-browser-and-world tests-of-the-slow tests-from-a-to-f tests-from-g-to-p tests-from-q-to-z
endif

# Five groups at once: what one waits for, most of the time, is no processor.
SLOW := tests/test_loadtest.py tests/test_lost_workers.py tests/test_recipes.py

tests-in-browser-and-world:
	@$(BIN)/python -m pytest tests/browser tests/sim

tests-of-the-slow:
	@$(BIN)/python -m pytest $(SLOW)

tests-from-a-to-f tests-from-g-to-p tests-from-q-to-z: tests-from-%:
	@$(BIN)/python -m pytest $(filter-out $(SLOW),$(sort $(wildcard tests/test_[$(subst -to-,-,$*)]*.py)))

check: $(READY)  ## format, lint, types, layers, and that what is made (client, documents) is current
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.npm.client --check
	@$(BIN)/python -m tests.documents --check

client: $(READY)  ## make the client's small form, its declarations and its manifest from the sources
	@$(BIN)/python -m tests.npm.client

docs: $(READY)  ## make what docs/ says of the code: settings, metrics, HTTP, the stream
	@$(BIN)/python -m tests.documents

load: $(READY)  ## docs/performance.md anew: what this machine takes, beside other services (about ten minutes)
	@$(BIN)/python -m loadtest.peers --install || true
	@$(BIN)/python -m loadtest performance

lock: $(READY)  ## renew the hashed lists of dependencies from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --extra nats pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --extra demo --extra nats --group dev pyproject.toml -o requirements-dev.txt

browser: $(READY)
	@$(BIN)/python tests/chromium.py

servers: $(READY)
	@$(BIN)/python -m tests.debian

clean:  ## remove what these commands made
	rm -rf .venv .demo .test report reports tests/npm/node_modules

$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 …")'
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
