# Two commands matter: `make demo` and `make test`. Everything they need they install or make.
# Build output and caches live outside the checkout.

export NARU_CACHE ?= $(HOME)/.cache/naru
export CARGO_TARGET_DIR ?= $(NARU_CACHE)/target
export CARGO_TERM_COLOR ?= auto

NARU := $(CARGO_TARGET_DIR)/release/naru

.PHONY: help setup setup-test build demo demo-down test test-long test-vm lint bench docs install

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Install the system packages that Naru needs
	@scripts/setup.sh run

setup-test: ## Install what the tests need besides
	@scripts/setup.sh test

build: setup ## Build the program (release)
	cargo build --release --locked -p naru

demo: build ## Start Naru and bring up examples/hello
	@scripts/demo.sh $(NARU)

demo-down: ## Stop the demo and remove its data
	$(NARU) -f examples/hello/compose.yaml down --volumes

lint: ## Formatter, clippy with warnings denied, dependency and layer rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo run -q --locked -p xtask -- check

test: setup-test lint ## Every test in its short form, with real containers (as root)
	@scripts/test.sh

test-long: setup-test ## Sweeps, seeds and soaks
	@NARU_LONG=1 scripts/test.sh

test-vm: build ## Tests in virtual machines: systemd, cgroup v2, firewalls, reboot, power cut
	@scripts/test-vm.sh $(NARU)

bench: build setup-test ## Print every benchmark's figures
	@scripts/bench.sh $(NARU)

docs: ## Write the pages that are made from tables in the code
	NARU_WRITE_DOCS=1 cargo test -q --locked -p naru-compose --lib the_page_in_docs
	cargo run -q --locked -p xtask -- conformance

install: build ## Install Naru on this machine with a systemd unit
	$(NARU) install
