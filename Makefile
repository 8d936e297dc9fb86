# `make demo` and `make test` work from nothing: a machine with Python >= 3.10, g++ >= 11 and make.
# Everything lands in $(VENV), build*/, out/ and fastconv/*.so, which git ignores.

PYTHON ?= python3
CXX ?= g++
VENV ?= .venv
MAX_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# Test processes; each may use all of torch's threads.
TEST_JOBS ?= $(MAX_JOBS)
export MAX_JOBS CXX

BIN := $(abspath $(VENV))/bin
# torch looks for ninja on the PATH.
export PATH := $(BIN):$(PATH)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
RESULTS := out/test-results

CPP_FILES := $(shell find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
BUILD_INPUTS := setup.py pyproject.toml $(shell find csrc -name '*.cpp' -o -name '*.h')

# A caller's PYTHONPATH or user site would put other packages in front of the pinned ones.
unexport PYTHONPATH
export PYTHONNOUSERSITE := 1

.DEFAULT_GOAL := help
.PHONY: help demo bench bench-all docs test test-families fuzz soak cpp-test asan tsan cuda-compile gpu-check lint format build wheel wheel-cuda sdist test-wheel clean distclean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.built $(VENV)/.demo  ## photographs through ResNet-18 and AlexNet, LeNet-5 on digits; out/demo.png
	$(BIN)/python -m examples.demo

bench: $(VENV)/.built $(VENV)/.demo  ## time layers of real networks: make bench ARGS="--threads 2 --batch 16"
	$(BIN)/python -m bench $(ARGS)

bench-all: $(VENV)/.built $(VENV)/.demo  ## every kind of comparison, to bench/results/ (about half an hour)
	$(BIN)/python -m bench.everything $(ARGS)

docs: $(VENV)/.built $(VENV)/.docs  ## the pages of docs/ with their figures: out/docs/html/index.html
	rm -rf out/docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -d out/docs/doctrees docs out/docs/html

test: $(VENV)/.built $(VENV)/.dev  ## the whole suite, then the kernels again under each lower instruction set
	$(BIN)/python -m tests.every_isa -n $(TEST_JOBS) $(ARGS)

test-families: $(VENV)/.built $(VENV)/.models  ## timm's and torchvision's models: convert, compile, train (six minutes)
	$(BIN)/python -m pytest tests/third_party/families.py --junitxml=$(RESULTS)/families.xml -q -n $(TEST_JOBS) $(ARGS)

fuzz: $(VENV)/.built $(VENV)/.dev  ## random problems against torch, TIMES (50) as many as make test draws, new ones each time
	FASTCONV_FUZZ=$(or $(TIMES),50) $(BIN)/python -m pytest tests/test_fuzz.py tests/test_random_problems.py -q -n $(TEST_JOBS) $(ARGS)

soak: $(VENV)/.built $(VENV)/.dev  ## 100,000 calls of changing shapes: memory must not grow (ten minutes)
	FASTCONV_SOAK=100000 $(BIN)/python -m pytest tests/test_soak.py -q -n $(TEST_JOBS) $(ARGS)

build: $(VENV)/.built  ## compile fastconv into $(VENV)

cpp-test:  ## the kernels' C++ unit tests (CMake, CTest)
	@$(call need,cmake,apt-get install cmake)
	cmake -S . -B build-cpp -DCMAKE_BUILD_TYPE=Release
	cmake --build build-cpp --parallel $(MAX_JOBS)
	@mkdir -p $(RESULTS)
	ctest --test-dir build-cpp --parallel $(MAX_JOBS) --output-on-failure --output-junit $(abspath $(RESULTS))/cpp.xml

asan:  ## the same under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(call need,cmake,apt-get install cmake)
	cmake -S . -B build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFASTCONV_SANITIZE=ON
	cmake --build build-asan --parallel $(MAX_JOBS)
	@mkdir -p $(RESULTS)
	ctest --test-dir build-asan --parallel $(MAX_JOBS) --output-on-failure --output-junit $(abspath $(RESULTS))/asan.xml

tsan:  ## the kernels from many threads at once under ThreadSanitizer
	@$(call need,cmake,apt-get install cmake)
	cmake -S . -B build-tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFASTCONV_TSAN=ON
	cmake --build build-tsan --parallel $(MAX_JOBS)
	@mkdir -p $(RESULTS)
	ctest --test-dir build-tsan -R '^(threads|conv2d|max_pool2d)$$' --output-on-failure --output-junit $(abspath $(RESULTS))/tsan.xml

lint: $(VENV)/.dev  ## ruff, mypy and clang-format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)

format: $(VENV)/.dev  ## let ruff and clang-format rewrite what lint objects to
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

cuda-compile:  ## compile every CUDA kernel for 8.0 and 9.0a, listing registers and spills (needs nvcc, no GPU)
	$(PYTHON) scripts/cuda_compile.py --jobs $(MAX_JOBS)

gpu-check:  ## where there is a GPU, with the active Python and offline: build, pytest -m cuda, the GPU bench to bench/results/
	$(PYTHON) -c 'import fastconv._cuda_loader as c; raise SystemExit(not c.loaded)' || \
		FORCE_CUDA=1 $(PYTHON) setup.py --quiet build_ext --inplace
	$(PYTHON) -m pytest -m cuda -q -p no:cacheprovider tests
	@if command -v compute-sanitizer >/dev/null; then \
		compute-sanitizer --error-exitcode 1 $(PYTHON) -m pytest -m cuda -q -x -k captures tests/cuda_emulation; \
		else echo "no compute-sanitizer: memory not checked"; fi
	$(PYTHON) -m bench.gpu $(ARGS)

wheel: $(VENV)/.wheel  ## dist/*.whl, tagged manylinux: one for every torch >= 2.10
	$(call make_wheel,FORCE_CUDA=0)

wheel-cuda: $(VENV)/.wheel  ## the same with CUDA kernels; its name says for which CUDA (needs nvcc, no GPU)
	$(call make_wheel,FORCE_CUDA=1)

# torch's libraries are there once torch is: they stay out of the wheel. dist/ gets what passed.
define make_wheel
	rm -rf out/wheel
	$(1) $(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir out/wheel .
	$(BIN)/python -m auditwheel repair --exclude 'libtorch*.so' --exclude 'libc10*.so' \
		--wheel-dir out/wheel/repaired out/wheel/*.whl
	$(BIN)/python scripts/check_wheel.py out/wheel/repaired/*.whl
	@mkdir -p dist && mv out/wheel/repaired/*.whl dist && ls -l dist
endef

sdist: $(VENV)/.wheel  ## dist/*.tar.gz, once it has been compiled and installed (five minutes)
	rm -rf out/sdist
	$(BIN)/python -m build --sdist --no-isolation --outdir out/sdist .
	$(BIN)/python scripts/install_sdist.py out/sdist/*.tar.gz
	@mkdir -p dist && mv out/sdist/*.tar.gz dist && ls -l dist

test-wheel: wheel  ## install dist/*.whl beside another torch and run the suite: make test-wheel TORCH=2.11.0
	$(BIN)/python scripts/wheel_beside_torch.py --torch $(or $(TORCH),2.13.0) $$(ls dist/*manylinux*.whl | grep -v +cu) -- -n $(TEST_JOBS) $(ARGS)

clean:  ## remove what was built, keep the environment
	rm -rf build build-* dist out *.egg-info fastconv/*.so $(VENV)/.built

distclean: clean  ## remove the environment too
	rm -rf $(VENV)

# --- stamps: each is newer than what it was made from -------------------------------------------

need = command -v $(firstword $(1)) >/dev/null || { \
	echo "fastconv needs $(1): $(2)" >&2; exit 1; }

# All that the machine must bring is asked for before anything is installed.
$(VENV)/.made:
	@$(call need,$(PYTHON),Python 3.10 or newer; name it by make PYTHON=/path/to/python3)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "fastconv needs Python 3.10 or newer, $(PYTHON) is $$($(PYTHON) --version):" \
			"name another by make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) makes no virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sysconfig; open(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || { \
		echo "$(PYTHON) has no Python.h to compile against: apt-get install python3-dev" >&2; exit 1; }
	@$(call need,$(CXX),apt-get install g++; name another by make CXX=/path/to/g++)
	@echo 'int i = std::bit_cast<int>(1.0f);' | $(CXX) -std=c++20 -x c++ -include bit -fsyntax-only - 2>/dev/null || { \
		echo "fastconv is C++20 and $(CXX) is too old for it: g++ 11 or newer will do" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.build: requirements/build.txt $(VENV)/.made
	@echo "installing torch and the build tools into $(VENV)"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.demo: requirements/demo.txt $(VENV)/.build
	@echo "installing the demonstration's libraries into $(VENV)"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.demo
	@echo "installing the documentation's tools into $(VENV)"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.docs
	@echo "installing the test tools into $(VENV)"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.wheel: requirements/wheel.txt $(VENV)/.build
	@$(PIP) -r $<
	@touch $@

$(VENV)/.models: requirements/models.txt $(VENV)/.dev
	@echo "installing model definitions into $(VENV)"
	@$(PIP) --no-deps -r $<
	@touch $@

# The first time installs; after that ninja recompiles what changed, which pip would not.
$(VENV)/.built: $(BUILD_INPUTS) $(VENV)/.build
	@echo "compiling fastconv with $(MAX_JOBS) jobs"
	@mkdir -p build && touch build/started
	@if test -e $@; then $(BIN)/python setup.py --quiet build_ext --inplace; \
		else $(PIP) --no-build-isolation --no-deps --editable .; \
		fi > build/log.txt || { cat build/log.txt >&2; exit 1; }
	@touch -r build/started $@  # a source edited meanwhile is newer
