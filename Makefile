# make demo    a virtual environment, usernat in it, and `usernat demo`
# make test    what the tests need (Debian packages included, as root), and the whole suite
# make check   ruff, mypy --strict, import contracts
# make fuzz    the long campaigns
# make mutation    changes the TCP code in thousands of ways, to see the tests notice; hours. MUTANTS=NAME... tries these again
# make conformance  the RFCs' requirements, cited and tested; docs/conformance.md
# make bench   speed beside other gateways, as ratios; docs/benchmarks.md. ROWS=NAME... measures some
# make pictures  docs/demo.svg, from a run of the demo
# make plots   the figures of docs/simulator.md, from runs of the simulator (tests/sim)
# make goodput the tables of docs/simulator.md, some three minutes
# make clean   all that was made here
#
# It needs Python 3.11 or newer, pip and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := .cache
SOURCES := $(wildcard pyproject.toml)

# With pip but without ensurepip (Debian's python3 without python3-venv) the outer pip fills the environment.
define install
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "usernat needs Python 3.11 or newer; set PYTHON=")'
test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
$(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --quiet --editable '.$(1)'
mkdir -p $(STAMPS) && touch $@
endef

.PHONY: demo test check fuzz mutation conformance bench pictures plots goodput clean
.DELETE_ON_ERROR:

demo: $(STAMPS)/installed
	$(BIN)/usernat demo

$(STAMPS)/installed: $(SOURCES)
	@$(call install,)

$(STAMPS)/installed-dev: $(SOURCES) | $(STAMPS)/installed
	@$(call install,[dev])

test: $(STAMPS)/installed-dev
	@tests/lab/install.sh tests/lab/packages.txt
	@. $(STAMPS)/lab.env; $(BIN)/python -m pytest $(TESTS)

check: $(STAMPS)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The properties: of TCP whole, of its parts, and of the arithmetic that they stand on.
PROPERTIES := $(foreach name,weather walk arithmetic reassembly scoreboard,$(wildcard tests/stack/l4/tcp/test_tcp_$(name)*.py)) \
	tests/stack/test_rangeset.py tests/stack/test_checksum.py

fuzz: $(STAMPS)/installed-dev
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest --timeout 0 tests/fuzz $(PROPERTIES) tests/lab/interop/test_interop_anything.py

$(STAMPS)/installed-mutation: $(SOURCES) | $(STAMPS)/installed
	@$(call install,[mutation])

mutation: $(STAMPS)/installed-mutation
	HYPOTHESIS_PROFILE=mutation $(BIN)/mutmut run $(MUTANTS)
	@$(BIN)/python -m tests.mutation

conformance: $(STAMPS)/installed-dev
	@$(BIN)/python -m tests.conformance

bench: $(STAMPS)/installed-dev $(STAMPS)/installed-plots
	@tests/lab/install.sh bench/packages.txt
	@$(BIN)/python -m bench $(ROWS)

pictures: $(STAMPS)/installed
	$(BIN)/python docs/picture.py

$(STAMPS)/installed-plots: $(SOURCES) | $(STAMPS)/installed
	@$(call install,[plots])

plots: $(STAMPS)/installed-plots
	$(BIN)/python -m docs.plots

goodput: $(STAMPS)/installed
	$(BIN)/python -m tests.sim

clean:
	rm -rf $(VENV) $(STAMPS) mutants build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
