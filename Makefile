# Everything a person does with this project. `make demo` and `make test` need only Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# Two tests at a time, a core each; a file stays together, and the longest begin (tests/conftest.py).
test test-slow test-random: export OMP_NUM_THREADS = 1
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder
.PHONY: help setup demo test test-slow test-random mutants check fuzz lab picture notebooks docs docs-pages wheel clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

INSTALLED_FROM := settings.ini setup.py setup_venv.py constraints.txt
INSTALL_HOOKS = if git rev-parse --git-dir >/dev/null 2>&1; then $(BIN)/nbdev_install_hooks; fi

.venv/ready: $(INSTALLED_FROM)
	$(PYTHON) setup_venv.py dev
	$(INSTALL_HOOKS)
	touch $@

.venv/everything: $(INSTALLED_FROM)
	$(PYTHON) setup_venv.py dev capture export live docs check
	$(INSTALL_HOOKS)
	touch .venv/ready $@

setup: .venv/ready ## make .venv with everything pinned, and the git hooks for notebooks

demo: .venv/ready ## train on the synthetic signers (about two minutes of training on two cores)
	$(BIN)/asl-nb demo

test: ## every check: the lessons, then pytest (export in sync, notebooks clean, whole program, site)
	$(MAKE) --no-print-directory -j 2 browser-files landmark-models
	timeout 900 $(BIN)/nbdev_test --n_workers 2
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) --durations=15 tests

check: .venv/everything ## a minute: linter, types, export in step, notebooks clean, course and commands
	$(BIN)/ruff check --quiet --config .ci/ruff.toml asl_nb docs nbs/_tools tests setup.py setup_venv.py
	$(BIN)/mypy --config-file .ci/mypy.ini asl_nb
	$(BIN)/python -m pytest -q tests/test_notebooks.py tests/test_course.py -k "not solutions"

test-random: .venv/everything ## look for new random examples that break a property, in five rounds; `make test` has the same ones every time
	for round in 1 2 3 4 5; do $(BIN)/python -m pytest -q $(TWO_AT_A_TIME) -m hypothesis --hypothesis-profile search tests || exit 1; done

mutants: .venv/everything ## put small faults into the code, and see that a lesson or a test notices each
	$(BIN)/python tests/mutants/run.py

fuzz: .venv/everything ## damage a thousand files of every kind, and see each refused in one line or read right
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py

test-slow: .venv/everything landmark-models ## the long lessons and tests too
	timeout 3000 $(BIN)/nbdev_test --n_workers 2 --flags slow
	$(BIN)/python -m pytest --slow $(TWO_AT_A_TIME) tests

# What pages load in a browser comes from npm; without npm the tests that need it are skipped, and say so.
.PHONY: browser-files
browser-files:
	if command -v npm >/dev/null; then $(MAKE) --no-print-directory -k docs/demo/vendor/ready docs/_static/vendor/ready || echo "npm fetched nothing; tests of pages are skipped"; fi

# On Python 3.13 and newer MediaPipe has no models; without the index the tests that need them are skipped, and say so.
.PHONY: landmark-models
landmark-models: .venv/everything
	$(BIN)/asl-nb landmarker || :

docs/demo/vendor/ready: docs/vendor_demo.sh docs/npm.sh
	sh docs/vendor_demo.sh
	touch $@

docs/_static/vendor/ready: docs/vendor_site.sh docs/npm.sh
	sh docs/vendor_site.sh

docs/demo/data/demo.json: .venv/everything docs/demo/build.py $(wildcard asl_nb/assets/*.pth asl_nb/assets/*.npz)
	$(BIN)/python docs/demo/build.py page

docs: docs/demo/vendor/ready docs/demo/data/demo.json docs-pages ## the site, with the page that recognises signs in the browser, in _docs/
	rm -rf _docs/demo && cp -r docs/demo _docs/demo

docs-pages: .venv/everything docs/_static/vendor/ready # the site alone, from the notebooks as they are
	$(BIN)/python docs/signer.py docs/_static/signer.json
	$(BIN)/python docs/pages.py
	$(BIN)/sphinx-build -W --keep-going -n -q -j auto -b html -c docs -d docs/_build/doctrees docs/_src docs/_build/html
	rm -rf _docs && cp -r docs/_build/html _docs

lab: .venv/ready ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir nbs

picture: demo ## run the demo, and renew the figure of the README
	cp models/training_history.png nbs/images/training_history.png

notebooks: .venv/everything ## export, re-run every notebook, clean, and renew README.md
	$(BIN)/python nbs/_tools/renew.py

wheel: .venv/ready ## build the wheel and the source package into dist/
	$(BIN)/python -m build

clean: ## remove what the other commands made, but no trained models
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis
