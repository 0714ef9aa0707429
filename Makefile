# `make demo` and `make test` are all that a fresh machine needs.
PYTHON ?= python3
BIN := .venv/bin
# Processes that run tests: each of them loads TensorFlow, and has a core to itself.
JOBS ?= 2
# TensorFlow's C++ start-up notices are no news to anyone here.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test lint bench integration clean

help: ## What can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/demo ## Train on real purchases with a real encoder, export, answer
	$(BIN)/tfrs-decay demo

test: .venv/test ## All tests but the slow integration suites
	$(BIN)/python -m pytest -m "not integration" -n $(JOBS) --dist loadscope

lint: .venv/lint ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/bench ## What the README's figures come from
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/decay_pooling.py
	$(BIN)/python benchmarks/interest_state.py
	$(BIN)/python benchmarks/text_tower.py
	$(BIN)/python benchmarks/new_items.py
	$(BIN)/python benchmarks/events.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/feedback.py
	$(BIN)/python benchmarks/shared_steps.py
	$(BIN)/python benchmarks/serving.py --no-load
	$(BIN)/python benchmarks/quality_cost.py
	$(BIN)/python benchmarks/quality_retail.py --data complete-journey --sample 400

integration: .venv/integration ## The slow suites, on real input
	$(BIN)/python -m pytest -m integration

# One stamp for each set of extras; a change of setup.py installs anew.
.venv/%: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean: ## Remove what was installed and written here
	rm -rf .venv .cache out runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
