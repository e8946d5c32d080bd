# Everything starts here. The README's two commands are `make demo` and `make test`.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test check fix lab drill bench stubs clean

demo: $(VENV)/.installed        ## three real members with TLS on this machine
	@$(BIN)/etcdup demo

test: $(VENV)/.tests            ## everything, set-up included
	@scripts/test $(BIN)

check: $(VENV)/.tests           ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.tests             ## what ruff can put right by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(VENV)/.tests             ## real Debian machines to play with, until Ctrl-C (needs root)
	scripts/lab-setup
	$(BIN)/python -m tests.lab up --machines $(or $(MACHINES),3)

drill: $(VENV)/.tests           ## the worst day, docs/worst-day.md, played on such machines (needs root)
	scripts/lab-setup
	$(BIN)/python -m tests.lab drill

bench: $(VENV)/.tests           ## the speed table, side by side in one run (needs root)
	scripts/lab-setup
	$(BIN)/python -m tests.bench

stubs:                          ## etcd's API stubs, from our .proto files
	scripts/make-stubs

clean:
	rm -rf $(VENV)

$(VENV)/.installed: pyproject.toml scripts/make-venv
	@scripts/make-venv $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.tests: pyproject.toml scripts/make-venv
	@scripts/make-venv $(PYTHON) $(VENV) test check
	@touch $(VENV)/.installed $@
