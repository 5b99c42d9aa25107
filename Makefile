# `make demo` and `make test` set up all they need: see scripts/setup.sh.

CARGO ?= cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/release/nst-stream
CLIP := tests/data/bigbuckbunny.mp4
STYLE := mosaic
COMMIT = $(shell git rev-parse --short HEAD 2>/dev/null)
BROWSER := { command -v chromedriver && command -v "$${BROWSER_FOR_TESTS:-chromium}"; } >/dev/null

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## get system packages and libtorch (LIBTORCH=<folder>: your own; CUDA=1/0: with CUDA, without)
	@scripts/setup.sh

build: $(BIN) ## the program, target/release/nst-stream

demo: out/demo.mp4 out/demo.png ## style a short film: out/demo.mp4, and out/demo.png with frames before and after
	@echo "demo: see out/demo.mp4 and out/demo.png"
	@echo "demo: the same live, from your webcam into a window:"
	@echo "      $(BIN) --model $(STYLE) --input /dev/video0"

# The later passes are for tests that count what the process holds: they must be alone, and memory
# lies in one heap, so that what grows is not just spread.
test: ## all tests, then lint
	@scripts/setup.sh test
	$(CARGO) test --release
	$(CARGO) test --release --test rtsp_server --test live -- --ignored --test-threads 1
	MALLOC_ARENA_MAX=1 $(CARGO) test --release --test formats -- --ignored
	@if $(BROWSER); then set -x; $(CARGO) test --release --test browser -- --ignored --test-threads 1; fi
	@$(MAKE) --no-print-directory lint
	@if ! $(BROWSER); then echo "test: no chromedriver and chromium (or BROWSER_FOR_TESTS) here: tests in a browser did not run"; fi

# Prints tables of faults, memory, descriptors, threads and of how sound and picture stay together.
soak: ## MINUTES=30 SEED=1: a live run among faults of its camera and of clients
	@scripts/setup.sh test
	MINUTES=$(or $(MINUTES),30) SEED=$(or $(SEED),1) $(CARGO) test --release --test soak -- --ignored --nocapture

# Slurm and munge are unpacked into target/slurm unless they are installed.
test-slurm: ## packaging/slurm with a real Slurm on this machine (as root, Debian)
	@scripts/setup.sh test
	$(CARGO) test --release --test parts -- --ignored --nocapture slurm

# In the release profile, so that clippy does not build torch-sys's C++ once more.
lint: setup ## rustfmt, clippy and links of the documentation; a warning is an error
	@if $(CARGO) fmt --version >/dev/null 2>&1; then set -x; $(CARGO) fmt --check; \
		else echo "lint: rustfmt is not installed: skipped (rustup component add rustfmt)"; fi
	@if $(CARGO) clippy --version >/dev/null 2>&1; then set -x; $(CARGO) clippy --release --all-targets -- -D warnings; \
		else echo "lint: clippy is not installed: skipped (rustup component add clippy)"; fi
	RUSTDOCFLAGS="-D rustdoc::broken_intra_doc_links -A rustdoc::private_intra_doc_links" $(CARGO) doc --quiet --release --no-deps --document-private-items

# In a quarter of an hour on two cores. ONLY=flv: those whose name has this in it, and no table.
check-formats: $(BIN) ## compare the program with FFmpeg over containers, codecs and properties: docs/formats.md
	@scripts/setup.sh test
	python3 scripts/check_formats.py --program $(BIN) $(if $(ONLY),--only '$(ONLY)',--write docs/formats.md)

# The last part gets ONNX Runtime, OpenVINO and PyTorch (2.5 GB) into target/bench-peers, once.
bench: $(BIN) ## all benches, in half an hour; the figures go into BENCHMARKS.md
	@scripts/setup.sh test
	$(CARGO) bench --bench color --bench network --bench queue
	$(CARGO) bench --bench whole -- --write BENCHMARKS.md
	python3 scripts/bench_peers.py --program $(BIN) --write BENCHMARKS.md

# PHOTOS=, STYLES= and the like reach the script as variables of its environment.
experiment: $(if $(NAME),$(BIN)) ## NAME=evolution PHOTOS=<folder>: make a picture of the docs anew; without NAME: list them
	@python3 scripts/experiment.py $(if $(NAME),$(NAME) --program $(BIN) $(if $(FORCE),--force))

docs: ## write docs/options.md anew from the options of the program
	WRITE_DOCS=1 $(CARGO) test --release --test cli the_page_of_options

install: setup ## nst-stream into cargo's bin folder
	NST_COMMIT=$(COMMIT) $(CARGO) install --path . --locked

package: ## a Debian package, an archive and a Python wheel, into dist/
	@scripts/setup.sh package
	NST_COMMIT=$(COMMIT) scripts/package.sh

release: ## licences checked, the packages, what is in them (an SBOM) and checksums, into dist/
	@scripts/setup.sh package
	NST_COMMIT=$(COMMIT) scripts/release.sh

clean: ## remove what was built; libtorch and its links stay
	$(CARGO) clean
	rm -rf out

# Cargo knows when to build; what depends on the program is remade only when cargo changed it.
$(BIN): FORCE | setup
	$(CARGO) build --release

out/demo.mp4: $(BIN) $(CLIP) $(wildcard models/$(STYLE).*)
	@mkdir -p out
	$(BIN) --model $(STYLE) --input $(CLIP) --output $@ --scale 0.5 --overwrite

out/demo.png: out/demo.mp4
	@rm -f $@
	$(BIN) sheet $(CLIP) $< --output $@

.PHONY: help setup build demo test test-slurm soak package release lint check-formats bench experiment docs install clean FORCE
.DELETE_ON_ERROR:
.NOTPARALLEL:
