# SPDX-License-Identifier: Apache-2.0
# Thin names for what tools/ does. Nothing needs to be installed before.
.PHONY: demo test wheel lint format clean

demo: ## set up, build, install, and quantize a network on real pictures
	tools/setup.sh demo
	.venv/bin/python examples/fashion/demo.py --out out

test: ## set up and run every test
	tools/setup.sh test
	tools/test.sh

wheel: ## the package in dist/
	tools/setup.sh wheel

lint: ## checks that build nothing
	tools/setup.sh lint
	tools/lint.sh

format: ## format C (clang-format 14) and Python in place
	find . \( -path ./third_party -o -path ./build -o -name '.?*' \) -prune -o -name '*.[ch]' -print0 | xargs -0 clang-format -i
	.venv/bin/ruff format -q python tools

clean: ## remove all that was made here, virtual environments too
	rm -rf build dist out .venv .venv-tf1
