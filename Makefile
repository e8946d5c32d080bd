# Entry points. The two commands of the README are `make demo` and `make test`.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test test-full quick fuzz test-core test-flows test-hostile test-local test-cli test-lab test-clients \
	check fix docs lab drill bench stubs wheel clean

demo: $(VENV)/.installed        ## start three real members with TLS on this machine
	@$(BIN)/etcdup demo

test: $(VENV)/.tests            ## run all kinds of tests, including set-up; WING=certs runs the tests of one wing
	@scripts/test $(BIN) $(if $(WING),wing $(WING),all) $(ARGS)

test-full: $(VENV)/.tests       ## run all cases of all tests, before a release
	@scripts/test $(BIN) full $(ARGS)

quick: $(VENV)/.tests           ## run style, types and the fast tests: no root, no network, no etcd
	@scripts/test $(BIN) quick $(ARGS)

test-core: $(VENV)/.tests       ## run the tests of pure code
	@scripts/test $(BIN) core $(ARGS)

test-flows: $(VENV)/.tests      ## run whole commands on fake hosts, killed between commands
	@scripts/test $(BIN) flows $(ARGS)

test-hostile: $(VENV)/.tests    ## run the tests with hostile hosts, members, files and certificates
	@scripts/test $(BIN) hostile $(ARGS)

test-local: $(VENV)/.tests      ## run the tests on real etcd and sshd on loopback
	@scripts/test $(BIN) local $(ARGS)

test-cli: $(VENV)/.tests        ## run the commands as users type them, on real local members
	@scripts/test $(BIN) cli $(ARGS)

test-lab: $(VENV)/.tests        ## run the tests on real Debian machines (needs root)
	@scripts/test $(BIN) lab $(ARGS)

fuzz: $(VENV)/.tests            ## search for input that a parser cannot handle; SECONDS=600, PARSERS='probe marker'
	@$(BIN)/pip install --quiet --require-hashes --only-binary :all: --requirement lock/fuzz.txt
	@nice -n 19 $(BIN)/python scripts/fuzz --seconds $(or $(SECONDS),600) $(PARSERS)

test-clients: $(VENV)/.tests    ## run kube-apiserver and Patroni through each operation, and print a table (needs root)
	@scripts/test $(BIN) clients $(ARGS)

check: $(VENV)/.tests           ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.tests             ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.tests            ## generate the reference pages
	$(BIN)/python -m tests.reference_pages
	$(BIN)/python -m tests.rules_page

lab: $(VENV)/.tests             ## start real Debian machines to try things on, until Ctrl-C (needs root)
	scripts/lab-setup
	$(BIN)/python -m tests.lab up --machines $(or $(MACHINES),3)

drill: $(VENV)/.tests           ## run the commands of docs/guides/lost-quorum.md on such machines (needs root)
	scripts/lab-setup
	$(BIN)/python -m tests.lab drill

bench: $(VENV)/.tests           ## measure the speed table, side by side in one run (needs root)
	scripts/lab-setup
	$(BIN)/python -m tests.bench

stubs:                          ## generate the stubs of etcd's API from our .proto files
	scripts/make-stubs

wheel: $(VENV)/.installed       ## build the wheel that pipx and uv install
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) dist

$(VENV)/.installed: pyproject.toml lock/demo.txt scripts/make-venv
	@scripts/make-venv $(PYTHON) $(VENV) demo
	@touch $@

$(VENV)/.tests: pyproject.toml lock/test.txt scripts/make-venv
	@scripts/make-venv $(PYTHON) $(VENV) test
	@touch $(VENV)/.installed $@
