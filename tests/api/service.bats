# Health, information, metrics, schema, routing, lists, idempotency.

load helpers

setup_file() {
    start_server
}

teardown_file() {
    finish_file
}

@test "health, readiness, information" {
    call GET /healthz
    expect 200 '.status == "ok"'
    call GET /readyz
    expect 200 '.status == "ok"'
    call GET /v1/info
    expect 200 '.device.backend == "cpu" and .device.threads >= 1 and .limits.batch_max >= 1'
}

@test "the run's schema is that of the contract" {
    call GET /v1/schemas/run
    expect 200 '.required == ["model","dataset","strategy"] and .properties.batch_size.default == 64 and .properties.epochs.maximum == 10000 and .properties.lr.default == null'
}

@test "openapi.yaml is served, and not again to who has it" {
    call GET /v1/openapi.yaml
    expect 200
    cmp "$BODY" "$SOURCE/api/openapi.yaml"
    call GET /v1/openapi.yaml -H "If-None-Match: $(header ETag)"
    expect 304
}

@test "metrics count what was asked" {
    call GET /v1/info
    call GET /v1/models/nobody
    expect 404
    call GET /metrics
    expect 200
    grep -q 'gonio_http_requests_total{route="/v1/info",method="GET",status="200"} [1-9]' "$BODY"
    grep -q 'gonio_http_requests_total{route="/v1/models/{id}",method="GET",status="404"} [1-9]' "$BODY"
    for name in gonio_http_request_seconds_bucket 'gonio_runs{status="queued"}' gonio_run_images_total gonio_classify_batch_size_count \
        'gonio_classify_seconds_count{stage="decode"}' gonio_queue_depth gonio_disk_free_bytes process_resident_memory_bytes; do
        grep -qF "$name" "$BODY"
    done
}

@test "what is not there is 404, what is not allowed is 405 and says what is" {
    call GET /v1/nothing
    expect 404
    call GET /v1/models/nobody/nothing
    expect 404
    call PUT /v1/models
    expect 405
    [[ $(header Allow) == *POST* ]]
    call DELETE /v1/datasets
    expect 405
    call HEAD /v1/info
    [ "$STATUS" = 200 ]
}

@test "unknown, repeated and impossible query parameters are named" {
    call GET '/v1/models?limit=0'
    expect_field /limit
    call GET '/v1/models?limit=abc'
    expect_field /limit
    call GET '/v1/models?limit=99999999999999999999'
    expect_field /limit
    call GET '/v1/models?colour=red'
    expect_field /colour
    call GET '/v1/models?limit=5&limit=6'
    expect_field /limit
    call GET '/v1/models?after=mdl_0000000000000000'
    expect_field /after
    call GET '/v1/datasets?after=dst_0000000000000000'
    expect_field /after
    call GET '/v1/runs?status=sleeping'
    expect_field /status
    call GET '/v1/runs?after=run_0000000000000000'
    expect_field /after
}

@test "lists are newest first and come in pages" {
    for name in one two three; do new_model "$name"; done
    call GET '/v1/models?limit=2'
    expect 200 '[.items[].name] == ["three","two"] and .next == .items[1].id'
    call GET "/v1/models?limit=2&after=$(field .next)"
    expect 200 '[.items[].name] == ["one"] and .next == null'
    call GET /v1/datasets
    expect 200 '.items == [] and .next == null'
    call GET /v1/runs
    expect 200 '.items == [] and .next == null'
}

@test "a repeated request with one key makes one thing" {
    local body='{"init":"random","architecture":{"image_size":16,"patch_size":8,"dim":8,"depth":1,"heads":1}}'
    post_json /v1/models "$body" -H 'Idempotency-Key: k1'
    expect 201
    local id
    id=$(field .id)
    post_json /v1/models "$body" -H 'Idempotency-Key: k1'
    expect 201 ".id == \"$id\""
    post_json /v1/models "${body/\"dim\":8/\"dim\":16}" -H 'Idempotency-Key: k1'
    expect 422
    post_json /v1/models "$body" -H 'Idempotency-Key: k2'
    expect 201 ".id != \"$id\""
}

@test "not ready while the disk has no room" {
    stop_server
    launch --disk-reserve 1125899906842624
    call GET /readyz
    expect 503 '.detail | test("disk")'
    call GET /healthz
    expect 200
    stop_server
    launch
    call GET /readyz
    expect 200
}

@test "a GPU's backend that cannot be loaded is said in the log and in the information" {
    stop_server
    echo 'no library' > "$BATS_FILE_TMPDIR/broken.so"
    GONIO_CUDA_PLUGIN=$BATS_FILE_TMPDIR/broken.so launch --device auto
    grep -q 'no GPU: the CUDA backend cannot be loaded: .*broken.so' "$LOG"
    call GET /v1/info
    expect 200 '.device.backend == "cpu" and (.device.remark | test("the CUDA backend cannot be loaded: .*broken.so"))'
    stop_server
    launch --device cpu
    call GET /v1/info
    expect 200 '.device.remark == ""'
}
