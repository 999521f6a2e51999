# Four words over CMake. Each does everything that it needs on a fresh Debian 12 or Ubuntu 24.04 machine, as root or with sudo:
#   make demo    the whole job on synthetic pictures, in minutes (examples/demo.sh)
#   make test    every test; the C tests and the service also under the sanitizers (ctest is the umbrella)
#   make bench   speed and memory of this machine's engine
#   make clean   removes build/
# and for developers: make test-long (the demo and a gigabyte's upload, as tests), make asan, make tsan (those build trees),
# make lint, make format.

JOBS ?= $(shell nproc)
CTEST = ctest --test-dir build/release --output-on-failure --no-tests=error --schedule-random

.PHONY: demo test test-long bench clean program tests asan tsan lint format cuda-proof gpu-bundle gpu-check packages-%

program: packages-build
	cmake --preset release -DGONIO_TESTS=OFF
	cmake --build --preset release -j $(JOBS)

asan tsan: packages-build packages-test
	cmake --preset $@
	cmake --build --preset $@ -j $(JOBS)

demo: program packages-run
	examples/demo.sh build/release

tests: packages-build packages-bench packages-run packages-test asan tsan
	cmake --preset release -DGONIO_TESTS=ON -DGONIO_ASAN_TREE=$(CURDIR)/build/asan -DGONIO_TSAN_TREE=$(CURDIR)/build/tsan
	cmake --build --preset release -j $(JOBS)

test: tests
	$(CTEST) -LE long

test-long: tests
	$(CTEST) -L long

bench: packages-build packages-bench program
	build/release/gonio bench

lint: packages-build packages-lint
	tests/run/lint

format: packages-lint
	git ls-files '*.c' '*.h' | xargs clang-format -i

# The CUDA kernels proved free of races, and their machine code read, with tools from PyPI; the table in the backend's README is written anew.
cuda-proof: packages-build packages-test
	tests/cuda/prove engine/backend/cuda/README.md

# What a machine with a GPU needs to show all that it can of gonio, which need not have anything of it: build/gpu/bundle.tar.xz and
# build/gpu/run. ARCHS are the GPU's architectures (90: H100, H200; "80;90"), or nothing: those of this machine's GPUs.
ARCHS = 90
gpu-bundle: packages-build packages-bench packages-test
	cmake --preset release -B build/sm -DGONIO_TESTS=ON -DGONIO_CUDA=ON -DGONIO_CUDA_ARCHS="$(ARCHS)" \
		-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$$ORIGIN/../lib'
	cmake --build build/sm -j $(JOBS) --target gpu_bundle

# The same on this machine's GPU, into build/gpu/report.txt.
gpu-check:
	nvidia-smi -L
	$(MAKE) gpu-bundle ARCHS=
	build/gpu/run build/gpu/bundle.tar.xz build/gpu

clean:
	rm -rf build

packages-%:
	docker/install-packages.sh $*
