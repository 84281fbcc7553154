# A thin layer over one Python command, `merlion`; see `make help`.

MERLION := .venv/bin/merlion
MODEL ?= smollm2-135m
PORT ?= 8080

.DEFAULT_GOAL := build
.PHONY: help setup build run run-full model check test bench clean

help:
	@echo "make build      compile the image            build/merlion.elf"
	@echo "make run        boot it, no model"
	@echo "make run-full   boot it with a model, a disk and a network; API on port $(PORT)"
	@echo "make check      format, types, subset, quick tests (under 2 minutes)"
	@echo "make test       every test, the booted image included (under 20 minutes)"
	@echo "make bench      measure everything of docs/performance.md (12 to 20 minutes of a quiet machine)"
	@echo "make model      download $(MODEL)"
	@echo "make clean      remove what was built"

setup:
	@tools/setup.sh

build: setup
	@$(MERLION) build

run: build
	@$(MERLION) run

run-full: build
	@$(MERLION) model get $(MODEL)
	@$(MERLION) run $(MODEL) --serve $(PORT)

model: setup
	@$(MERLION) model get $(MODEL)

check: setup
	@$(MERLION) check

test: setup
	@$(MERLION) test

bench: model
	@.venv/bin/python bench/run_all.py

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
