# The whole developer interface. Each target makes .venv first if there is none; PYTHON names the interpreter for it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TUNED = $(wildcard results/tuned/frozen-*.toml)

.PHONY: demo demo-photos test lint tables check baseline calibrate reference small frozen finetune bench-perf fuzz kills

demo: .venv/ready
	$(BIN)/bench run demo > /dev/null
	$(BIN)/bench report --matrix demo

demo-photos: .venv/ready
	$(BIN)/bench run photos > /dev/null
	$(BIN)/bench report --matrix photos

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tables: .venv/ready
	PYTHONPATH=tests $(BIN)/python -P tests/support/generated.py

check: .venv/ready
	$(BIN)/bench check smoke --baseline results/smoke.parquet

baseline: .venv/ready
	$(BIN)/bench check smoke --make-baseline results/smoke.parquet

calibrate: .venv/ready
	PYTHONPATH=tests $(BIN)/python -P tests/perf/calibrate.py

reference: .venv/ready
	$(BIN)/bench run demo --seeds 3 --results results/reference
	$(BIN)/bench run losses --results results/reference
	$(BIN)/bench run ensembles --results results/reference
	$(BIN)/bench pack results/reference.parquet --results results/reference
	$(BIN)/bench report --results results/reference.parquet --output reports/reference --title "Reference results" --front reports
	$(BIN)/bench complement ensembles --results results/reference --output reports

small: .venv/ready
	$(BIN)/bench run small --results results/small
	$(BIN)/bench pack results/small.parquet --results results/small
	$(BIN)/bench report --results results/small.parquet --output reports/small --title "Two cores, an hour, real photos" --front reports

# What was searched, and what was found, is in results/tuned: one matrix for each dataset.
frozen: .venv/ready
	$(BIN)/bench search frozen --trials 8 --results results/search --write results/tuned/frozen.toml --force
	for matrix in $(TUNED); do $(BIN)/bench run $$matrix --results results/frozen || exit 1; done
	$(BIN)/bench pack results/frozen.parquet --results results/frozen --no-queries
	$(BIN)/bench report --results results/frozen.parquet --output reports/frozen --title "53 losses on a frozen pretrained trunk" \
	  --front reports $(addprefix --matrix ,$(TUNED))

finetune: .venv/ready
	$(BIN)/bench run frozen-ensembles --results results/finetune
	$(BIN)/bench run finetune --results results/finetune
	$(BIN)/bench pack results/finetune.parquet --results results/finetune --no-queries
	$(BIN)/bench report --results results/finetune.parquet --output reports/finetune --title "Ensembles of losses on a pretrained trunk" --front reports

bench-perf: .venv/ready
	PYTHONPATH=tests $(BIN)/python -P tests/perf/training.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/evaluation.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/each_loss.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/ensembles.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/comparisons.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/frames.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/start.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/workers.py
	PYTHONPATH=tests $(BIN)/python -P tests/perf/many_cells.py

fuzz: .venv/ready
	PYTHONPATH=tests $(BIN)/python -P tests/perf/fuzz.py --minutes 10

kills: .venv/ready
	PYTHONPATH=tests $(BIN)/python -P tests/perf/kills.py --kills 100

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
