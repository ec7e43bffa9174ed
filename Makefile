# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := all,dev

.PHONY: setup demo test slow check lint format benchmark clean

setup: $(VENV)/.ready

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

