# The loop of this repository. Every cargo call takes the lock file as it is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup lint check test rust-tests devices-long python-tests web-tests fuzz-short fuzz soak mutation-gate jepsen demo bench bench-core fmt

# Compiled code and the Python environment outlive a clone; without a writable home they stay inside it.
ifndef FISCUS_CACHE
FISCUS_CACHE := $(shell base="$${XDG_CACHE_HOME:-$${HOME:+$$HOME/.cache}}"; \
  test -n "$$base" && mkdir -p "$$base/fiscus" 2>/dev/null && test -w "$$base/fiscus" \
    && echo "$$base/fiscus" || echo "$(CURDIR)/target")
endif
ifndef CARGO_TARGET_DIR
CARGO_TARGET_DIR := $(patsubst %/target/target,%/target,$(FISCUS_CACHE)/target)
endif
export FISCUS_CACHE CARGO_TARGET_DIR

# Seconds of fuzzing per target: a glance in `make test`, a long look in `make fuzz`.
FUZZ_SECONDS_SHORT ?= 5
FUZZ_SECONDS ?= 300

# How long `make soak` simulates, and its first seed.
SOAK_SECONDS ?= 3600
SOAK_FROM ?= 1000

# What `make jepsen` tells fiscus-jepsen; without an older program, upgrade is not among the faults.
JEPSEN_ARGS ?= --seconds 300 --nemesis kill,kill-all,pause,partition,one-way,loss,clock,power,power-all,full,corrupt,rolling,transfer,snapshot

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: lint ## Formatting, lints, repository rules and the fast tests: the loop while you work
	PROPTEST_CASES=32 cargo test --locked --quiet --workspace --lib --bins

lint: ## Formatting, lints (warnings are errors) and the repository rules
	cargo fmt --all --check
	cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
	cargo xtask check

# The fast tests of `make check` are among all the Rust tests and do not run twice.
test: setup lint rust-tests python-tests web-tests fuzz-short ## Everything, as CI runs it; installs what it needs

setup: ## Install what the tests need: system packages if missing, Python, the browser's driver
	tests/room.sh
	tests/setup.sh

rust-tests: ## All Rust tests
	cargo test --locked --workspace --no-fail-fast

devices-long: ## Thousands of cuts, ten minutes of ten terminals and 100 MB of noise at fiscal devices
	FISCUS_CUTS=5000 FISCUS_DEVICE_SECONDS=600 FISCUS_NOISE_MB=100 \
		cargo test --locked --package fiscus-tools --test devices -- --nocapture

# The binary is the one that the Rust tests have built: built alone it would have other features, and all would compile again.
python-tests: setup ## The checks written in another language than the product
	cargo test --locked --quiet --workspace --no-run
	FISCUS="$$CARGO_TARGET_DIR/debug/fiscus" tests/run-python.sh

web-tests: setup ## The pages in a real browser, with axe
	cargo test --locked --quiet --workspace --no-run
	FISCUS="$$CARGO_TARGET_DIR/debug/fiscus" tests/run-web.sh

fuzz-short: ## A few seconds of each fuzz target
	FUZZ_SECONDS=$(FUZZ_SECONDS_SHORT) tests/fuzz.sh

fuzz: ## Some minutes of each fuzz target
	FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz.sh

soak: ## Simulated clusters under every fault for SOAK_SECONDS, two at a time
	cargo build --locked --profile sim --package fiscus-sim
	"$$CARGO_TARGET_DIR/sim/fiscus-sim" --seeds $(SOAK_FROM)..18446744073709551615 --seconds $(SOAK_SECONDS) --jobs 2

mutation-gate: setup ## Plant each bug in turn: the simulation must find it; the table in docs/RELIABILITY.md is made anew
	jepsen/gate.sh

jepsen: setup ## Faults on real processes, as root: JEPSEN_ARGS='--nemesis kill,partition --seconds 60 --seed 7'
	cargo build --locked --release --package fiscus-tools
	cargo build --locked --release --package fiscus-nemesis --package fiscus-check
	"$$CARGO_TARGET_DIR/release/fiscus-jepsen" $(JEPSEN_ARGS)

demo: ## Build the release binary and run the demonstration
	cargo build --locked --release --package fiscus-tools
	"$$CARGO_TARGET_DIR/release/fiscus" demo

bench: ## Compare with etcd and PostgreSQL on this machine: a quarter of an hour, and 40 GiB of disk meanwhile
	benches/peers.sh

bench-core: ## The benchmarks of the parts, by criterion
	cargo bench --locked --package fiscus-benches

fmt: ## Format the source
	cargo fmt --all
