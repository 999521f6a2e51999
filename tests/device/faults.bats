# A GPU that fails under the service: the run says which call failed, in which file and line; nothing goes on elsewhere; where the
# service's own context has failed too, /readyz says so and what is queued waits. The host runner plays the GPU and fails on demand.

bats_require_minimum_version 1.5.0
load ../api/helpers

teardown() {
    unset GONIO_CUDA_HOST_FAULT
    [ ! -e "$BATS_FILE_TMPDIR/pid" ] || stop_server
    rm -rf "$DATA" "$BATS_FILE_TMPDIR/pid"
}

# serve_failing CALL:NUMBER: a fresh service whose processes fail at that call each, with a model and a data set.
serve_failing() {
    export GONIO_CUDA_HOST_FAULT=$1
    start_server --device cuda:0 --max-runs 1
    inputs pictures archives
    new_model tiny
    new_model headed 3
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
}

new_run() {
    post_json /v1/runs "{\"name\":\"$1\",\"model\":\"tiny\",\"dataset\":\"three\",\"strategy\":\"attention\",\"epochs\":2,\"batch_size\":6}"
    expect 201
}

expect_device_error() {
    call GET "/v1/runs/$1"
    expect 200 '.status == "failed" and .error.type == "device" and .result == null'
    expect 200 '.error.detail | test("^[a-z].* at [a-z_]+\\.cu:[0-9]+: .*, on host runner$")'
}

@test "a kernel that fails in a run is that run's failure" {
    serve_failing kernel:60
    new_run first
    wait_run first failed
    expect_device_error first
    call GET /v1/runs/first
    expect 200 '.error.detail | contains("cudaErrorIllegalAddress")'
    # the service's own context works: it looked, and goes on
    call GET /readyz
    expect 200
    new_run second
    wait_run second failed
    expect_device_error second
    call GET /v1/info
    expect 200 '.device.backend == "cuda"'
}

@test "a run that its GPU failed goes on when it is resumed with one that works" {
    serve_failing product:9
    new_run first
    wait_run first failed
    expect_device_error first
    call GET /v1/runs/first
    expect 200 '.error.detail | contains("cublasLtMatmul")'
    stop_server
    unset GONIO_CUDA_HOST_FAULT
    launch --device cuda:0
    call POST /v1/runs/first/resume
    expect 200
    wait_run first succeeded
}

@test "a device that is lost to the service too: not ready, and the queue waits" {
    serve_failing wait:1
    new_run first
    wait_run first failed
    expect_device_error first
    local tries=0
    until call GET /readyz && [ "$STATUS" = 503 ]; do
        sleep 0.1
        tries=$((tries + 1))
        [ $tries -lt 100 ]
    done
    expect 503 '.detail | test("the device failed: .* at [a-z_]+\\.cu:[0-9]+: ")'
    call GET /healthz
    expect 200
    new_run second
    sleep 2
    call GET /v1/runs/second
    expect 200 '.status == "queued" and .attempts == 0'
    call POST /v1/models/headed/classify -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 503 '.detail | test(" at [a-z_]+\\.cu:[0-9]+: ")'
    stop_server
    unset GONIO_CUDA_HOST_FAULT
    launch --device cuda:0
    call GET /readyz
    expect 200
    wait_run second succeeded
}

@test "a GPU that fails while it is opened is none that the service starts on" {
    export GONIO_CUDA_HOST_FAULT=event:5 DATA=$BATS_FILE_TMPDIR/data
    run ! "$GONIO" serve --data "$DATA" --listen 127.0.0.1:0 --device cuda:0
    [[ $output == *"at transfer.cu:"* ]]
    run ! "$GONIO" bench --device cuda:0 --only products
    [[ $output == *"at transfer.cu:"* ]]
}
