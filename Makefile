# One virtual environment for everything; a fresh machine needs Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test bench calibration check ci format lint types fast-test constraints clean

# Audit the embedded backdoored organism against its clean twin.
demo: $(VENV)/.installed
	$(BIN)/python -m trait_probe.experiments.backdoor

# Everything: unit, property and integration tests, notebooks, the experiment end to end.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Rates, ratios against peers, memory: half an hour on two cores; writes bench-forward.json.
bench: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --no-deps steering-vectors
	$(BIN)/python -m benchmarks.forward --out bench-forward.json

# How often "supported" is said where nothing is there, and where something is: about 40 minutes on
# two cores; writes bench-calibration.json and docs/figures.
calibration: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibration --out bench-calibration.json --figures docs/figures

# Before each commit, under two minutes.
check: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(MAKE) lint types fast-test

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

fast-test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" -q --numprocesses auto --dist loadfile

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python setup.cfg constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	touch $@

constraints: $(VENV)/.installed-dev
	( echo "# Versions that the test suite passed with; setup.cfg holds the ranges. Regenerate: make constraints"; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/^torch==.*/torch==2.13.0/' ) > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info
