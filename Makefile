# SPDX-License-Identifier: Apache-2.0
# Thin names for what tools/ does. Nothing needs to be installed before.
.PHONY: demo test bench wheel docs lint format clean

demo: ## set up, build, install, and quantize a network on real pictures
	tools/setup.sh demo
	.venv/bin/python examples/fashion/demo.py --out out

test: ## set up and run every test
	tools/setup.sh test
	tools/test.sh

bench: ## ratios: calibrating, quantizing and saving against TensorFlow and a file copy
	tools/setup.sh demo
	PATH="$$PWD/.venv/bin:$$PATH" cmake -S . -B build/bench-kernels -G Ninja -DAMCT_BENCH=ON >build/bench-kernels.log
	PATH="$$PWD/.venv/bin:$$PATH" cmake --build build/bench-kernels --target bench_kernels bench_search
	AMCT_BENCH_KERNELS=build/bench-kernels/bench/bench_kernels .venv/bin/python bench/bench.py

wheel: ## the package in dist/
	tools/setup.sh wheel

docs: ## the C API as HTML, from doxygen: build/docs/c/index.html
	mkdir -p build/docs
	doxygen doc/Doxyfile

lint: ## checks that build nothing
	tools/setup.sh lint
	tools/lint.sh

format: ## format C (clang-format 14) and Python in place
	find . \( -path ./third_party -o -path ./build -o -name '.?*' \) -prune -o -name '*.[ch]' -print0 | xargs -0 clang-format -i
	.venv/bin/ruff format -q python tools

clean: ## remove all that was made here, virtual environments too
	rm -rf build dist out .venv .venv-tf1
