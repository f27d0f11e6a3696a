# A bare `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-demo
# AsyncAPI's own validator, for docs/asyncapi.yaml.
ASYNCAPI_PARSER := 3.6.6
ASYNCAPI := $(VENV)/asyncapi-$(ASYNCAPI_PARSER)

.DEFAULT_GOAL := help
.PHONY: help setup demo shipped-store test test-slow fuzz check asyncapi-parser check-asyncapi format site docs docs-traffic docs-terminal docs-captures docs-playground docs-brokers docs-realtime docs-quality bench bench-anchors bench-quality bench-quality-all bench-quality-quick bench-ablation bench-claims bench-scale bench-codecs bench-deltas bench-selection bench-compare bench-million bench-sample bench-queueing bench-hour bench-sessions bench-malformed bench-kills clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 22

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

setup: $(STAMP) ## create .venv and install peelfleet into it

$(DEMO_STAMP): pyproject.toml
	@echo "peelfleet and what it trains with are installed into $(VENV): on Linux about 3 GB are downloaded, since"
	@echo "PyTorch comes with CUDA there. README.md says how to have it without: 0.4 GB."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -e $(STAMP) || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	touch $@

demo: $(DEMO_STAMP) ## install what the demo needs; train and run the quickstart scenario end to end
	$(BIN)/peelfleet run scenarios/quickstart.yaml

shipped-store: $(STAMP) ## train the store of the quickstart that comes with peelfleet
	$(BIN)/python -m emulator.simulation.shipped_stores

test: $(STAMP) ## run the tests but the slow ones, one process per core
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: $(STAMP) ## run the tests that take longest; one process more than cores, since most of them wait for a clock or a broker
	$(BIN)/python -m pytest -n "$$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')" --dist load -m slow

fuzz: $(STAMP) ## run every property with new random examples; `make test` runs the same ones each time
	$(BIN)/python -m pytest -n auto --dist load -m "hypothesis and not slow" --hypothesis-profile=new

check: $(STAMP) ## lint, format, types, import direction, the rules of the house, links of the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house_rules
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --site-dir $(VENV)/site

$(ASYNCAPI):
	npm install --prefix $@.draft --silent --no-audit --no-fund --ignore-scripts --no-package-lock @asyncapi/parser@$(ASYNCAPI_PARSER)
	mv $@.draft $@

site: $(STAMP) ## build the documentation as a site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

asyncapi-parser: $(ASYNCAPI)

check-asyncapi: $(ASYNCAPI) ## validate docs/asyncapi.yaml with AsyncAPI's own parser; needs node and npm
	node tests/check_asyncapi.mjs $(ASYNCAPI) docs/asyncapi.yaml

format: $(STAMP) ## rewrite the code as ruff formats it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## generate docs/scenario.md, metrics.md, events.md, python-reference.md, asyncapi.yaml, examples, and scenarios/schema.json
	$(BIN)/python -m tests.protocol_examples
	$(BIN)/python -m tests.python_reference
	$(BIN)/python -m scenarios.reference

docs-traffic: $(STAMP) ## run the sweeps of docs/traffic.md and rewrite its tables; takes some minutes
	rm -rf benchmarks/out/traffic
	$(BIN)/peelfleet sweep scenarios/thrash.yaml --out benchmarks/out/traffic/thrash
	$(BIN)/peelfleet sweep scenarios/policy-matrix.yaml --out benchmarks/out/traffic/policy-matrix
	$(BIN)/python -m benchmarks.traffic benchmarks/out/traffic

docs-terminal: $(STAMP) ## run quickstart and draw what it prints, for the README
	$(BIN)/python -m benchmarks.terminal_picture

docs-captures: $(STAMP) ## write again what every verb prints, for tests/emulator/cli/captures; then read what has changed
	$(BIN)/python -m tests.emulator.cli.captures

docs-playground: $(STAMP) ## record the playground in a headless browser, for the README; needs chromium
	$(BIN)/python -m benchmarks.playground_pictures

docs-brokers: $(STAMP) ## try what each installed broker can do and rewrite the table of docs/brokers.md
	$(BIN)/python -m benchmarks.broker_table

docs-realtime: $(STAMP) ## run the scenario of docs/realtime.md under both clocks and rewrite its table
	$(BIN)/python -m benchmarks.clocks_page

bench: $(STAMP) ## measure speed; figures go to benchmarks/out/; NAME=codecs runs benchmarks/codecs.py instead
	$(BIN)/python -m benchmarks$(if $(NAME),.$(NAME))

bench-anchors: $(STAMP) ## compare known models with printed figures; fail where they differ
	$(BIN)/python -m benchmarks.anchors

bench-quality: $(STAMP) ## compare PEEL with its rivals at equal bytes: two data sets, members and newcomers, 5 seeds
	$(BIN)/python -m benchmarks.quality --jobs 2

docs-quality: $(STAMP) ## put what bench-quality wrote into docs/method.md
	$(BIN)/python -m benchmarks.quality.page

bench-quality-all: $(STAMP) ## compare PEEL with every baseline there is, members only; takes long
	$(BIN)/python -m benchmarks.quality --all --jobs 2

bench-quality-quick: $(STAMP) ## the same as bench-quality with 1 seed and 3 budgets
	$(BIN)/python -m benchmarks.quality --quick

bench-ablation: $(STAMP) ## compare both recipes with each stage switched off in turn, 3 seeds
	$(BIN)/python -m benchmarks.quality --ablation --jobs 2

bench-claims: $(STAMP) ## print the table of the paper's claims, each with what came out, 3 seeds; takes a while
	$(BIN)/python -m benchmarks.quality --claims

bench-scale: $(STAMP) ## measure the time and memory of training, up to 1.2 million interactions; takes a while
	$(BIN)/python -m benchmarks.scale

bench-codecs: $(STAMP) ## measure time to decode, time to rank and working memory of each codec
	$(BIN)/python -m benchmarks.codecs

bench-deltas: $(STAMP) ## traffic of a model that is retrained daily: deltas against whole answers, by budget, with quality
	$(BIN)/python -m benchmarks.deltas

bench-selection: $(STAMP) ## compare every selection policy, and the exact best subset, on one trained model
	$(BIN)/python -m benchmarks.selection

bench-compare: $(STAMP) ## measure how often `compare` is wrong: coverage, 100 equal pairs, pairs that differ
	$(BIN)/python -m benchmarks.compare_calibration

bench-million: $(STAMP) ## run a day of 100,000, 300,000 and 1,000,000 devices: time, memory and disk
	$(BIN)/python -m benchmarks.million

bench-sample: $(STAMP) ## measure how often the intervals of 100 samples hold the figures of 100,000 devices
	$(BIN)/python -m benchmarks.sample

bench-queueing: $(STAMP) ## compare the cloud's queue with the theory of queues, within 3 %
	$(BIN)/python -m benchmarks.queueing

bench-hour: $(STAMP) ## run a fleet for an hour at speed 60: the memory of each process must stay flat
	$(BIN)/python -m benchmarks.hour

bench-sessions: $(STAMP) ## connect 5,000 devices, each by itself, and squeeze them; print what it takes
	$(BIN)/python -m benchmarks.sessions

bench-malformed: $(STAMP) ## send a million malformed messages to the cloud; it must count them and stay as it is
	$(BIN)/python -m benchmarks.malformed

bench-kills: $(STAMP) ## kill every process of a run for ten minutes, then broker and clouds during rollouts; no device may be the worse for it
	$(BIN)/python -m benchmarks.kills
	$(BIN)/python -m benchmarks.rollout_kills

clean: ## remove what was built and run
	rm -rf $(VENV) runs benchmarks/out .mypy_cache .ruff_cache .pytest_cache .hypothesis
