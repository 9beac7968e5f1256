# `make demo`: predict, train and validate on real images.  `make test`: all checks.  Both set up what they need.
PYTHON ?= python3
PADDLE ?= 3.2.2
DEFAULT_PADDLE := 3.2.2
VENV ?= .venv$(if $(filter-out $(DEFAULT_PADDLE),$(PADDLE)),-paddle$(PADDLE))
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install -q -c tools/constraints.txt
# two workers, which take over each other's remaining tests; one thread each, as they share the processors;
# compiled modules are stored, as some hundred processes import the same
PYTEST_FLAGS ?= -n 2 --dist worksteal

.PHONY: demo test setup clean help

help:
	@head -1 Makefile | cut -c3-

demo: $(VENV)/.ready
	$(VENV)/bin/python -m paddleseg_u2net demo

test: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python
	OMP_NUM_THREADS=1 U2NET_THREADS=1 PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest $(PYTEST_FLAGS)

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.10 to 3.13. Fix: make PYTHON=python3.12 …"; exit 1; }
	@echo "Setting up $(VENV) with Paddle $(PADDLE) (a minute or two, once)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) paddlepaddle==$(PADDLE) -e '.[demo]'
	$(PIP) --no-deps paddleseg==2.8.0
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "Adding what the tests need"
	$(PIP) paddlepaddle==$(PADDLE) -e '.[dev]'
	$(PIP) --no-deps "paddle2onnx==2.1.0; python_version < '3.13'"
	@touch $@

clean:
	rm -rf .venv .venv-paddle* build *.egg-info
