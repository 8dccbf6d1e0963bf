# Every target sets up what it needs; a fresh clone wants nothing but Python and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DELETE_ON_ERROR:
.PHONY: demo test test-slow test-versions test-sdist lint types compatibility hippocampus hippocampus-audit covid-ct bench bench-scaling bench-gpu dist docs label-noise label-noise-more label-issues weak-rules clean

# nnU-Net brings forty packages, and one slow test needs it.
RIVAL := requirements/nnunet.txt
NEEDS := $(filter-out $(RIVAL),$(wildcard requirements/*.txt))

$(READY): pyproject.toml constraints.txt $(NEEDS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt $(NEEDS:%=-r %) -e ".[integrations,test]"
	touch $@

demo: $(READY)
	$(BIN)/python -m examples.covid3d run --preset demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY) $(VENV)/.rival
	$(BIN)/python -m pytest -m slow

$(VENV)/.rival: $(READY) $(RIVAL)
	$(BIN)/pip install --quiet -c constraints.txt -r $(RIVAL)
	touch $@

# The library's tests against the oldest and the newest PyTorch, 12 GB of packages and ten minutes.
test-versions: $(READY)
	$(BIN)/python -m tests.environments.versions oldest newest

# The library's tests from an unpacked source distribution, in an environment of its own.
test-sdist: $(READY)
	$(BIN)/python -m tests.environments.sdist

# What is uploaded, built and checked; links of the README lead to the repository:
# make dist SOURCE=https://HOST/OWNER/NAME
dist: $(READY)
	$(BIN)/python -m release $(if $(SOURCE),--source $(SOURCE))

# The site, in build/site; warnings are errors.
docs: $(READY)
	$(BIN)/python -m sphinx -b html -n -W --keep-going docs build/site

# docs/compatibility.md, from a run of the tests it speaks of.
compatibility: $(READY)
	$(BIN)/python -m pytest -q -m compatibility --compatibility-page=docs/compatibility.md

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What a user's type checker sees.
types: $(READY)
	PYTHONPATH=. $(BIN)/pyright --pythonpath $(BIN)/python tests/typed_script.py
	$(BIN)/python -m tests.verify_types

# Real data, an hour on two cores: make hippocampus DATA=PATH/TO/Task04_Hippocampus
hippocampus: $(READY)
	$(BIN)/python -m examples.covid3d run --preset hippocampus --jobs 2 --data $(DATA)

# Which of the given masks are wrong, where the truth is known: an hour on two cores.
hippocampus-audit: $(READY)
	$(BIN)/python -m examples.covid3d audit-trial --data $(DATA) --out runs/hippocampus-audit --jobs 2

# Ten chest CTs in the Benchmark's layout: make covid-ct DATA=PATH
covid-ct: $(READY)
	$(BIN)/python -m examples.covid3d run --preset covid-ct --jobs 2 --data $(DATA)

# What a step costs, three minutes on two cores; and how that grows, four more.
bench: $(READY)
	$(BIN)/python -m benchmarks.meta_step --output runs/bench

bench-scaling: $(READY)
	$(BIN)/python -m benchmarks.scaling --output runs/scaling

# On one CUDA device, within eight minutes and without a network; what is cut off goes on. With a Python
# that has a PyTorch for the card already: make bench-gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python
bench-gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(READY))
	$(GPU_PYTHON) -m benchmarks.gpu --output runs/gpu

# The tables on wrong labels, from a folder of the data sets, or of one of them; resumable. On two
# cores together they take two and a quarter hours and, for the last three tasks of label-noise-more,
# half an hour more: make label-noise DATA=PATH
label-noise: $(READY)
	$(BIN)/python -m benchmarks.label_noise --data $(DATA) --output runs/label_noise

label-noise-more: $(READY)
	$(BIN)/python -m benchmarks.label_noise --data $(DATA) --output runs/label_noise_more --preset more

label-issues: $(READY)
	$(BIN)/python -m benchmarks.label_issues --data $(DATA) --output runs/label_issues

weak-rules: $(READY)
	$(BIN)/python -m benchmarks.weak_rules --data $(DATA) --output runs/weak_rules

clean:
	rm -rf $(VENV) build dist *.egg-info
