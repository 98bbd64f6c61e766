# `make demo` and `make test` each set up what they need on a fresh Debian or Ubuntu.
SHELL := /bin/sh
PY := .venv/bin/python
BASE_PACKAGES := git zstd
TEST_PACKAGES := $(BASE_PACKAGES) xz-utils openssh-client mount libubootenv-tool e2fsprogs fdisk grub-common grub-emu
QEMU_PACKAGES := $(BASE_PACKAGES) qemu-system-arm u-boot-qemu u-boot-tools qemu-system-x86 grub-pc-bin \
	grub-common mmdebstrap e2fsprogs fdisk mtools dosfstools
CI_PACKAGES := $(TEST_PACKAGES) $(QEMU_PACKAGES) mender-artifact mender-client python3-cryptography

.PHONY: help setup demo agent test test-ci test-qemu test-qemu-all qemu-demo conformance check bench docs format schemas requirements clean

help:
	@echo "make demo     watch a Git commit roll out over a dozen devices, and a bad one being stopped"
	@echo "make agent    the agent as one file in dist/, for devices with Python 3.11"
	@echo "make test     unit, property, golden, contract, power-cut and end-to-end tests (15 minutes at most)"
	@echo "make test-ci  the longer ones: pairs of power cuts, every cut point"
	@echo "make test-qemu  an arm64 board in QEMU: U-Boot, bad images, power cuts (8 minutes at most)"
	@echo "make test-qemu-all  both bootloaders, replayed cuts, three boards (45 minutes at most)"
	@echo "make qemu-demo  watch an update, and one that falls back, on a board's serial console (BOARD=grub: x86-64)"
	@echo "make conformance MENDER_CASES=FILE  run a file of behavioural cases against the agent"
	@echo "make check    format, lint, types, import contracts, generated files"
	@echo "make bench    measure; figures are explained in docs/performance.md"
	@echo "make docs     write the generated parts of docs/ and schemas/"

setup:
	@.ci/setup $(BASE_PACKAGES)

demo: setup
	@.venv/bin/fleetcd demo $(DEMO)

agent: setup
	@$(PY) .ci/agent_archive.py

test:
	@.ci/setup $(TEST_PACKAGES)
	@$(PY) -m tests.budget 15 -m "not ci and not qemu and not qemu_all" $(ARGS)

test-ci:
	@.ci/setup $(CI_PACKAGES)
	@$(PY) -m tests.budget 40 -m "ci" $(ARGS)

test-qemu:
	@.ci/setup $(QEMU_PACKAGES)
	@$(PY) -m tests.budget 8 -m "qemu" $(ARGS)

test-qemu-all:
	@.ci/setup $(QEMU_PACKAGES)
	@$(PY) -m tests.budget 45 -m "qemu or qemu_all" $(ARGS)

qemu-demo:
	@.ci/setup $(QEMU_PACKAGES)
	@$(PY) -m tests.qemu $(BOARD)

conformance: setup
	@$(PY) -m tests.conformance.mender_cases $(MENDER_CASES) $(ARGS)

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy .ci/agent_archive.py
	.venv/bin/lint-imports
	$(PY) -m schemas.kinds.export --check

bench:
	@.ci/setup $(CI_PACKAGES)
	$(PY) -m tests.bench $(ARGS)

docs: setup
	$(PY) -m schemas.kinds.export
	$(PY) -m device_agent.core.diagram > docs/state-machine.md

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# Pinned with hashes for every platform, without the address of any package index.
requirements: setup
	for extra in "agent:" "reconciler:--extra reconciler" "dev:--extra dev"; do \
		.venv/bin/uv pip compile pyproject.toml $${extra#*:} --generate-hashes --universal --upgrade -q \
			--no-header --no-annotate --no-emit-index-url -o requirements/$${extra%%:*}.txt; \
	done

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache build dist
