# Everything a person needs: `make run` to see it work, `make test` to know that it does.
#
# One profile (`quick`), one feature set and one target folder for all of them: what `make run` compiled, `make test`
# and `make bench` find again.

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/thalweg/target
CARGO_FLAGS := --workspace --profile quick --locked
THALWEG := $(CARGO_TARGET_DIR)/quick/thalweg
# Where `make run` puts the example's output and state.
OUT ?= out
# Nexmark events per measurement, and the folder of their files.
EVENTS ?= 5000000
CORPUS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/thalweg/corpus-$(EVENTS)

.PHONY: help build run test bench lint fmt

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

build: ## Build the binary (profile quick)
	@tests/setup.sh build
	cargo build $(CARGO_FLAGS)

run: build ## Run examples/flights to its end; print the result and where it lies
	@examples/flights/run.sh $(THALWEG) $(OUT)

test: ## Install what tests need, build, run every test, sum up
	@tests/setup.sh test
	@tests/run.py $(CARGO_FLAGS)

bench: build ## Measure Nexmark beside Apache Flink on the same files (EVENTS=5000000)
	@tests/setup.sh test
	@bench/run.py --events $(EVENTS) --corpus $(CORPUS)

lint: ## Formatting, clippy and its bans
	cargo fmt --all --check
	cargo clippy --workspace --locked -- -D clippy::disallowed_methods

fmt: ## Format the code
	cargo fmt --all
