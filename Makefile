VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
ARGS ?=
MINUTES ?= 30

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz faults soak lint clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## Make .venv with everything needed (done by demo and test; skipped when up to date)
	@PYTHON=$(PYTHON) scripts/setup_environment.sh

demo: setup  ## Drive a simulated vehicle for ten seconds and report (ARGS="--help" for options)
	$(BIN)/img2three demo $(ARGS)

test: setup lint  ## Lint, type check and run every test (ARGS="-k grid" chooses some)
	$(BIN)/python -m pytest $(ARGS)

fuzz: setup  ## 116,000 damaged inputs by coverage, some 20 minutes (ARGS="--share 0.1" gives fewer)
	$(BIN)/python test/fuzz/run.py all $(ARGS)

faults: setup  ## Every fault on real nodes, some ten minutes; writes docs/reliability.md (ARGS="--only clock" chooses)
	$(BIN)/python test/faults/campaign.py --output docs/reliability.md $(ARGS)

soak: setup  ## Random faults for MINUTES=30 while memory is watched; writes docs/reliability.md
	$(BIN)/python test/faults/soak.py --minutes $(MINUTES) --output docs/reliability.md $(ARGS)

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:  ## Remove builds and caches (.venv stays: rm -rf .venv to start anew)
	rm -rf build install log dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
