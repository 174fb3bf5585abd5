# Few verbs; everything .ci/run does is one of them. `make` alone lists them.
TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release/openclaw
export CARGO_TERM_PROGRESS_WHEN ?= never

.DEFAULT_GOAL := list
.PHONY: list run build test it check clients conformance bench deb dist packages macos fuzz snapshots clean

list: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## the release binary
	@packaging/binary

run: ## a gateway in the dev profile: no configuration and no key needed
	cargo build --locked
	@echo
	@echo "Starting a gateway in the dev profile on ws://127.0.0.1:19001 and http://127.0.0.1:19001; Ctrl-C ends it."
	@echo "Talk to it from another terminal:"
	@echo "  $(abspath $(TARGET))/debug/openclaw --dev agent --message hi"
	@echo
	@exec $(TARGET)/debug/openclaw --dev gateway

test: ## every test: Rust, official clients, malformed input
	@tests/run

it: ## integration tests whose name contains NAME=…
	cargo test --test it $(NAME)

check: ## format, lints, house rules
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test -q --locked --test architecture

clients: ## official command lines, web interface, node host, OpenAI SDKs
	cargo build --locked
	tests/clients/run
	tests/browser/run

conformance: ## every case of the HTTP surface; URL=… TOKEN=… for a running gateway
	$(if $(URL),,cargo build --locked)
	tests/conformance/run $(if $(URL),--url "$(URL)" --token "$(TOKEN)" --profile "$(or $(PROFILE),P1)" $(if $(FIXTURE),--fixture))

bench: ## this gateway beside the Node gateway, ROUNDS=3; writes docs/performance.md
	ROUNDS=$(or $(ROUNDS),3) tests/bench/run

fuzz: ## fuzzes TARGET_NAME=… (all if none) for SECONDS=… (needs a nightly toolchain)
	fuzz/run "$(TARGET_NAME)" "$(or $(SECONDS),60)"

snapshots: ## accept changed snapshots after reading the difference
	INSTA_UPDATE=always cargo test --locked
	git diff --stat

deb: ## the Debian package, in the build output under deb/
	@packaging/deb

dist: ## an archive for other systems, in the build output under dist/
	@packaging/dist

packages: ## tests of the package and the archive, and of the package's life on a real systemd
	tests/package/run
	OPENCLAW_DEB=$$(echo $(abspath $(TARGET))/deb/openclaw_*.deb) tests/systemd/run package

macos: ## the release binary for macOS on ARM, linked on Linux
	@packaging/macos/build release

clean: ## removes what cargo built
	cargo clean
