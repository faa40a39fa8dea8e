# make run    install into .venv, run the embedded scenario, print its table and draw its figures
# make test   install into .venv, run the tests
# make check  lint, format, types and the order of the layers
# make docs   install into .venv, build the documentation into build/docs, with every warning an error
# make faults kills, failing writes, runs at once, 500 trials, a clock set back; prints one table
# make gpu DATA=<folder>  pack this commit, packages and <folder>/cifar100.npz for a GPU machine without network, into gpu-visit/

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check docs faults gpu clean

run: .venv/installed
	$(BIN)/bench run --scenario glyphs-32-15 --strategy scratch --strategy naive --grid naive:horizon=0.5,0.7 --jobs 2
	$(BIN)/bench report --scenario glyphs-32-15 --formats png --width page

test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -b html . build/docs
	@echo build/docs/docs/index.html

faults: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

gpu: .venv/installed
	$(if $(DATA),,$(error DATA is missing, expected the folder of cifar100.npz: make gpu DATA=<folder>))
	$(BIN)/python -m tests.gpu.pack --data-root "$(DATA)" --set $(or $(SET),cifar100) --out gpu-visit

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist runs gpu-visit
