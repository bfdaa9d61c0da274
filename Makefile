# `make help` says what there is. Everything runs in .venv, which `make venv` makes and keeps up to date.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv demo test check fix bench first-byte page deep docs recording site man dist deb release clean
.NOTPARALLEL:
# Commands start many times in tests: compiling each anew would double their time.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin

help:   ## this list
	@sed -n 's/^\([a-z-]*\): *## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

venv:   ## .venv with the package and all that the checks and the tests need
	@scripts/make-venv dev

demo:   ## see it work: curl through a SOCKS 5 port, SOCKS 6 and a server of ours
	@scripts/install-packages demo
	@scripts/make-venv run
	@$(BIN)/python scripts/demo.py

test:   ## every test but the deep ones, and the coverage of each module by its own tests
	@scripts/run-tests

check:  ## format, lint, types, import rules, generated documents, quick tests; a minute
	@scripts/make-venv dev
	@$(BIN)/python scripts/check.py

fix:    ## format, and mend what the linter can mend by itself
	@scripts/make-venv dev
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench:  ## speed and memory beside other proxies; ARGS="..." goes to python -m benchmarks
	@scripts/install-packages bench
	@scripts/make-venv dev
	@$(BIN)/python -m benchmarks $(ARGS)

first-byte: ## time to the first byte over a slow link, of us and of others, and its plot; four minutes
	@scripts/install-packages bench
	@scripts/make-venv dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group plot
	@$(BIN)/python -m benchmarks first-byte $(ARGS)

page:   ## how long Chromium takes for a page through pairs of proxies, and its plot; two minutes
	@scripts/install-packages bench
	@scripts/install-packages page
	@scripts/make-venv dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group plot
	@$(BIN)/python -m benchmarks page $(ARGS)

deep:   ## what takes long: deep properties, the fuzz run, leaks, other Pythons; half an hour
	@scripts/run-deep-tests

docs:   ## write the generated documents anew
	@scripts/make-venv dev
	@$(BIN)/python scripts/generate_docs.py

recording: ## draw the terminals of README anew, from a session that is really run; as root
	@scripts/make-venv dev
	@$(BIN)/python scripts/record_terminal.py

site:   ## the documentation as a site, in build/site: warnings are errors, links and anchors are checked
	@scripts/make-venv dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@$(BIN)/python scripts/check_site.py build/site

man:    ## the manual pages, in build/man
	@scripts/make-venv dev
	@$(BIN)/python scripts/command_pages.py build/man

dist:   ## sdist and wheels in dist/, each tried in a new environment; three minutes
	@scripts/make-venv dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dist
	@$(BIN)/python scripts/make_dist.py $(ARGS)

deb:    ## Debian package in dist/, for the Debian that this is; a minute
	@scripts/make-venv dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dist
	@scripts/make-deb $(ARGS)

release: ## make a version in a clone, publish nothing: VERSION=0.2.0; ARGS=--cut makes it here
	@scripts/make-venv dev
	@$(BIN)/python scripts/release.py $(VERSION) $(ARGS)

clean:  ## remove what builds and tests leave behind, .venv too
	rm -rf .venv .venv-* build dist .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
