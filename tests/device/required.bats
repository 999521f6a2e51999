# tests/run/gpu-test: where there is a GPU, a backend that cannot be used fails the gpu_* tests; elsewhere they are skipped.

bats_require_minimum_version 1.5.0

# machine TEXT: `nvidia-smi -L` says so.
machine() {
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    printf '#!/bin/sh\necho "%s"\n' "$1" >"$BATS_TEST_TMPDIR/bin/nvidia-smi"
    chmod +x "$BATS_TEST_TMPDIR/bin/nvidia-smi"
    PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

device_test() {
    "$GN_SOURCE_DIR/tests/run/gpu-test" "$(dirname "$GONIO")/tests/device_kernels" cuda:0 bf16 test nothing
}

@test "a GPU, and a backend that cannot be loaded: failed" {
    machine 'GPU 0: NVIDIA H200 (UUID: GPU-0)'
    echo 'no library' >"$BATS_TEST_TMPDIR/plugin.so"
    GONIO_CUDA_PLUGIN=$BATS_TEST_TMPDIR/plugin.so run -1 device_test
    [[ $output == *"cannot be loaded"* ]]
    GONIO_CUDA_PLUGIN=$BATS_TEST_TMPDIR/none.so run -1 device_test
}

@test "no GPU, or a tree without the backend: skipped" {
    machine 'No devices found.'
    GONIO_CUDA_PLUGIN=$BATS_TEST_TMPDIR/none.so run -77 device_test
    machine 'GPU 0: NVIDIA H200 (UUID: GPU-0)'
    GONIO_CUDA_PLUGIN='' run -77 device_test
}
