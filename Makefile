# Everything below works with Python 3.10-3.13 and a package registry, and offline once .venv exists.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt

.PHONY: demo test test-engines lint bench setup torture locks bom

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt raiha_core/retrieval/kernel.c
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e ".[dev]"
	$(BIN)/python train/cpu_torchvision.py
	touch $@

demo: $(STAMP)
	$(BIN)/python workflows/demo.py --out demo_output

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p raiha_core

# a worker a core; torch's own threads would only wait for each other's
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

# Ray and the vector databases, in an environment of their own: `make test` skips what it lacks, and says so
ENGINES := .venv-engines
test-engines: $(ENGINES)/.installed
	PYTHONPATH=. OMP_NUM_THREADS=1 $(ENGINES)/bin/python -m pytest -rs tests/test_cluster.py tests/test_engines.py

$(ENGINES)/.installed: $(STAMP)
	$(PYTHON) -m venv $(ENGINES)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $(ENGINES)/shared.pth
	mv $(ENGINES)/shared.pth "$$($(ENGINES)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")"
	$(ENGINES)/bin/python -m pip --disable-pip-version-check install -e ".[ray,pgvector,lancedb]"
	touch $@

bench: $(STAMP)
	$(BIN)/python train/bench/run.py

# BUDGET=minutes samples every part, SEED=n decides every trial, ONLY=part[:trial] runs a part of it
torture: $(STAMP)
	$(BIN)/python -m tests.torture.run $(if $(BUDGET),--budget $(BUDGET)) --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY))

# what is installed, by version and hash (needs uv), and the same as a CycloneDX list in bom.json
locks: $(STAMP)
	$(BIN)/python tests/tools/make_locks.py

bom: $(VENV)/bom/bin/cyclonedx-py
	cat locks/hashed.txt locks/torch.txt > $(VENV)/bom/all.txt
	$< requirements $(VENV)/bom/all.txt --pyproject pyproject.toml --output-reproducible -o bom.json

$(VENV)/bom/bin/cyclonedx-py:
	$(PYTHON) -m venv $(VENV)/bom
	$(VENV)/bom/bin/python -m pip --disable-pip-version-check install cyclonedx-bom==7.5.0
