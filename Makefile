# `make help` lists the targets. All that is needed beforehand: git, make, Python >= 3.11.

PYTHON ?= python3
CORES ?= all
WORKERS ?= 2
GPUS ?= 1
ZOO := tiny-llava-1.5 $(filter-out tiny-llava-1.5,$(sort $(notdir $(wildcard lib/infoflow/zoo/tiny-*))))
BIN := .venv/bin
INSTALLED := .venv/installed
TORCH := 2.13.0

# What is given arrives byte for byte, in the environment: make would expand a `$` in it, and a shell
# line all the rest.
GIVEN := CORES WORKERS GPUS MODELS CHECKPOINT SOURCE NOTEBOOKS MODEL SEED SIZE OUTPUT
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

# Of the 20,000 modules that are installed few are used: those are compiled when they first are.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help book book-all pdf stale test types tests notebooks labs classroom evaluation lab zoo rows benchmarks lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

# --nolock: a build that was killed leaves Snakemake's lock behind. What it had not finished is run
# again; what it had is whole, because every result is renamed into its place.
SNAKEMAKE = $(BIN)/python -m snakemake --cores="$$CORES" --nolock --rerun-incomplete --keep-going \
	--max-checksum-file-size 64MB

BUILD = $(SNAKEMAKE) --quiet all \
	|| { echo 'The book was not built. `make stale` says more.' >&2; exit 1; }; \
	echo "The book: $$PWD/_build/html/index.html"

book: $(INSTALLED) ## run the stale notebooks and render the book; MODELS="a b" CHECKPOINT=folder SOURCE=shapes
	@$(BUILD)

book-all: $(INSTALLED) ## the book for all models of the zoo, the first of them with the others beside it
	@export MODELS="$(ZOO)"; $(BUILD)

pdf: book ## the whole book as one file to print, by Chromium: _build/infoflow.pdf
	$(BIN)/jupyter-book build . --builder singlehtml --quiet
	# Sphinx links as if this page lay at the top, our own extensions from where it does lie.
	sed -E -e 's|href="book/intro\.html#|href="#|g' -e 's|href="\.\./live\.html"|href="#document-book/live"|' \
		-e 's#(src|href)="\.\./(_images|_static)/#\1="\2/#g' \
		_build/singlehtml/book/intro.html > _build/singlehtml/book.html
	chromium --headless --no-sandbox --disable-gpu --no-pdf-header-footer \
		--print-to-pdf=_build/infoflow.pdf "file://$$PWD/_build/singlehtml/book.html"

stale: $(INSTALLED) ## say what `make book` would run, and why
	@$(SNAKEMAKE) --dry-run --quiet progress host

test: $(INSTALLED) ## ruff, mypy, pytest, and nbval on what this code has measured for the book
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j2 types tests # types are checked while tests wait

types:
	$(BIN)/mypy

# Files in their own order: by their numbers of tests the longest would come last. What pages measured
# is kept by a digest of the code, so rows of other code are not found in the copy.
tests:
	results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
		if [ -d results ]; then cp -R results/. "$$results"; fi && \
		OMP_NUM_THREADS=1 INFOFLOW_QUIET=1 INFOFLOW_RESULTS="$$results" \
		$(BIN)/pytest notebooks tests --nbval-cell-timeout 300 \
		-n "$$WORKERS" --dist loadfile --no-loadscope-reorder

notebooks: $(INSTALLED) ## run the committed notebooks anew, keep their outputs; NOTEBOOKS="a b" WORKERS=2
	@set -f; for name in $$NOTEBOOKS; do test -f "notebooks/$$name.ipynb" || \
		{ echo "error: there is no notebooks/$$name.ipynb." >&2; exit 2; }; done
	@if [ "$$NOTEBOOKS" ]; then set -f; printf '%s\0' $$NOTEBOOKS; \
		else cd notebooks && for page in *.ipynb; do printf '%s\0' "$${page%.ipynb}"; done; fi \
		| OMP_NUM_THREADS=1 xargs -0 -P "$$WORKERS" -I NAME \
		$(BIN)/python -m infoflow.cli refresh notebooks/NAME.ipynb \
		--error-page _build/failed/notebooks/NAME.html

labs: $(INSTALLED) ## make the labs' notebooks from book/labs/src, and run their solutions; NOTEBOOKS="lab1_tokens"
	OMP_NUM_THREADS=1 $(BIN)/python book/labs/generate.py $$NOTEBOOKS

# pip's own settings say where packages come from. On Linux, PyPI's torch brings CUDA's libraries along:
# PIP_EXTRA_INDEX_URL in the environment can name an index that has a build for CPUs.
classroom: ## gather all that a class installs without network, in _build/classroom
	rm -rf _build/classroom && mkdir -p _build/classroom
	$(PYTHON) -m pip download --quiet --no-deps --dest _build/classroom/wheels torch==$(TORCH)
	$(PYTHON) -m pip wheel --quiet --wheel-dir _build/classroom/wheels \
		--find-links _build/classroom/wheels --constraint requirements.lock .
	cp -R book/labs/student _build/classroom/labs
	cp book/labs/classroom/README.txt _build/classroom
	@du -sh _build/classroom

evaluation: $(INSTALLED) ## run the evaluations of evaluations.yml in shards, and merge them; CORES=2 GPUS=1
	$(BIN)/python -m snakemake --snakefile evaluation.smk --cores="$$CORES" --resources gpu="$$GPUS" \
		--nolock --rerun-incomplete --keep-going --quiet rules

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

zoo: $(INSTALLED) ## train a zoo model from scratch, or go on where it stopped; MODEL=name SEED=0
	$(BIN)/python -m zoo.train $${SEED:+--seed="$$SEED"} -- $${MODEL:+"$$MODEL"}

rows: export INFOFLOW_SHIPPED := no
rows: export INFOFLOW_RESULTS := $(CURDIR)/_build/rows
rows: $(INSTALLED) ## measure the zoo anew on all items, hours on two cores, and ship the rows with the package
	rm -rf _build/rows _build/html book/runs
	$(MAKE) --no-print-directory book-all
	printf '%s\n' $(ZOO) | xargs -P "$$WORKERS" -I NAME $(BIN)/python -m zoo.resembles NAME
	$(BIN)/python -m zoo.rows _build/rows

benchmarks: $(INSTALLED) ## measure the fast paths against the naive ones; SIZE=quick OUTPUT=file
	$(BIN)/python -m benchmarks $${SIZE:+--size="$$SIZE"} $${OUTPUT:+--output="$$OUTPUT"}

lock: ## pin the newest versions that pyproject.toml allows in requirements.lock and environment.yml
	rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	_build/lock/bin/pip install --quiet torch==$(TORCH) ".[book,dev]"
	sed -n '/^#/p' requirements.lock > _build/requirements.lock
	# torch without the build's suffix and without its CUDA libraries, which it asks for itself
	_build/lock/bin/pip freeze --all | grep -Ev '^(infoflow|pip|setuptools|wheel|nvidia-|cuda-|triton)' \
		| sed -E 's/^torch[ =].*/torch==$(TORCH)/' >> _build/requirements.lock
	mv _build/requirements.lock requirements.lock
	awk -F== 'NR == FNR {version[$$1] = $$2; next} \
		/==/ {name = $$1; sub(/^ *- /, "", name); sub(/==.*/, "==" version[name])} 1' \
		requirements.lock environment.yml > _build/environment.yml
	mv _build/environment.yml environment.yml

clean: ## remove the book, the runs and the results; keeps the environment
	rm -rf _build book/runs results .snakemake

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "infoflow needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
