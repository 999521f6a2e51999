# Sweeps: made together or not at all, their table, cancel, delete; a sweep goes on after the
# service was killed.

load helpers

setup_file() {
    start_server
    inputs archives
    new_model tiny
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
}

teardown_file() {
    finish_file
}

sweep() {
    post_json /v1/sweeps "$1"
}

# wait_sweep SWEEP STATUS
wait_sweep() {
    has_status() { call GET "/v1/sweeps/$1" && [ "$(field .status)" = "$2" ]; }
    eventually 60 has_status "$1" "$2" || { cat "$BODY"; return 1; }
}

@test "one run for each strategy and seed, and the table" {
    sweep '{"name":"all","model":"tiny","dataset":"three","strategies":["linear",{"kind":"attention"},{"kind":"angle","probe":{"epochs":1},"order":"largest","attention_layers":1,"ffn_layers":1}],"seeds":[3,4],"defaults":{"epochs":2,"batch_size":6,"lr":0.002}}'
    expect 201 '(.rows | length) == 6 and (.id | startswith("swp_")) and .strategies[1] == "attention" and .seeds == [3,4] and (.status | . == "queued" or . == "running")'
    expect 201 '[.rows[] | [.label, .seed]] == [["linear",3],["linear",4],["attention",3],["attention",4],["angle largest 1+1",3],["angle largest 1+1",4]]'
    [ "$(header Location)" = "/v1/sweeps/$(field .id)" ]
    local id run
    id=$(field .id)
    wait_sweep all succeeded
    expect 200 '.counts.succeeded == 6 and (.rows | all(.val_accuracy >= 0 and .seconds > 0 and .peak_memory_bytes > 1000000 and .tuned_fraction > 0))'
    expect 200 '.rows as $rows | .summary | length == 3 and all(.runs == 2 and .val_accuracy_std >= 0) and ((.[1].val_accuracy_mean - ($rows[2].val_accuracy + $rows[3].val_accuracy) / 2) | fabs) < 1e-9'
    run=$(field '.rows[5].run')
    call GET "/v1/runs/$run"
    expect 200 ".sweep == \"$id\" and .seed == 4 and .lr == 0.002 and .name == null and (.selection.layers | length) == 2"
    call GET /v1/sweeps/all -H 'Accept: text/csv'
    expect 200
    [ "$TYPE" = text/csv ]
    [ "$(head -1 "$BODY" | tr -d '\r')" = strategy,seed,run,status,tuned_parameters,tuned_fraction,val_accuracy,seconds,peak_memory_bytes ]
    [ "$(wc -l < "$BODY")" = 7 ]
    grep -q '^"linear",3,"run_' "$BODY"
    # the second run that starts from the features finds them
    call GET /v1/sweeps/all
    call GET "/v1/runs/$(field '.rows[1].run')/log"
    expect 200
    grep -q 'frozen prefix: [0-9]* bytes from an earlier run' "$BODY"
    [ ! -e "$DATA/sweeps/$id" ]
}

@test "the same seed gives in a sweep what it gives alone" {
    local run sha
    post_json /v1/runs '{"model":"tiny","dataset":"three","strategy":"linear","seed":4,"epochs":2,"batch_size":6,"lr":0.002}'
    run=$(field .id)
    wait_run "$run" succeeded
    call GET "/v1/models/$(field .result.model)"
    sha=$(field .sha256)
    call GET /v1/sweeps/all
    call GET "/v1/runs/$(field '.rows[1].run')"
    call GET "/v1/models/$(field .result.model)"
    expect 200 ".sha256 == \"$sha\""
}

@test "what does not fit is named, and nothing is made" {
    refused() {
        leaves_nothing sweep "$1"
        expect_field "$2"
    }
    local base='"model":"tiny","dataset":"three"'
    refused "{$base,\"strategies\":[\"linear\",\"full\",{\"kind\":\"linear\"}]}" /strategies/2
    refused "{$base,\"strategies\":[\"linear\",\"wrong\"]}" /strategies/1
    refused "{$base,\"strategies\":[\"linear\",{\"kind\":\"custom\",\"tune\":[\"nothing\"]}]}" /strategies/1/tune/0
    refused "{$base,\"strategies\":[{\"kind\":\"angle\",\"probe\":{},\"attention_layers\":9,\"ffn_layers\":1}]}" /strategies/0/attention_layers
    refused "{$base,\"strategies\":[]}" /strategies
    refused "{$base,\"strategies\":\"full\"}" /strategies
    refused "{$base}" /strategies
    refused "{$base,\"strategies\":[\"linear\"],\"seeds\":[]}" /seeds
    refused "{$base,\"strategies\":[\"linear\"],\"seeds\":[1,2,1]}" /seeds/2
    refused "{$base,\"strategies\":[\"linear\"],\"seeds\":[1,-2]}" /seeds/1
    refused "{$base,\"strategies\":[\"linear\"],\"defaults\":{\"epochs\":0}}" /defaults/epochs
    refused "{$base,\"strategies\":[\"linear\"],\"defaults\":{\"colour\":1}}" /defaults/colour
    refused "{$base,\"strategies\":[\"linear\"],\"defaults\":{\"seed\":1}}" /defaults/seed
    refused "{$base,\"strategies\":[\"linear\"],\"defaults\":3}" /defaults
    refused "{$base,\"strategies\":[\"linear\"],\"defaults\":{\"image_size\":33}}" /defaults/image_size
    refused '{"model":"nobody","dataset":"three","strategies":["linear"]}' /model
    refused '{"model":"tiny","dataset":"nothing","strategies":["linear"]}' /dataset
    refused "{$base,\"strategies\":[\"linear\"],\"colour\":1}" /colour
    refused "{$base,\"strategies\":[\"linear\"],\"name\":\"Not A Name\"}" /name
    local seeds
    seeds=$(seq -s, 32)
    refused "{$base,\"strategies\":[\"full\",\"linear\",\"attention\",\"ffn\",\"odd\",\"even\",\"norm\",\"bias\",\"last_third\"],\"seeds\":[$seeds]}" /strategies
    leaves_nothing sweep "{\"name\":\"all\",$base,\"strategies\":[\"linear\"]}"
    expect 409
    sweep '{"model":'
    expect 400
    call POST /v1/sweeps -H 'Content-Type: text/plain' --data-binary '{}'
    expect 415
    head -c 2000000 /dev/zero | tr '\0' ' ' > "$BATS_TEST_TMPDIR/large"
    call POST /v1/sweeps -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/large"
    expect 413
}

@test "cancel, list, delete" {
    sweep '{"name":"long","model":"tiny","dataset":"three","strategies":["full","ffn"],"defaults":{"epochs":10000,"batch_size":2,"eval_every_epochs":10000,"augment":"flip"}}'
    expect 201 '.summary | all(.runs == 0 and .val_accuracy_mean == null)'
    local long
    long=$(field .id)
    wait_sweep long running
    call DELETE /v1/sweeps/long
    expect 409
    call POST /v1/sweeps/long/cancel
    expect 200 '(.rows | length) == 2'
    wait_sweep long cancelled
    expect 200 '.counts.cancelled == 2'
    call POST /v1/sweeps/long/cancel
    expect 409
    call GET '/v1/sweeps?limit=1'
    expect 200 ".items[0].id == \"$long\" and (.items | length) == 1 and .next == \"$long\" and (.items[0] | has(\"rows\") | not)"
    call GET "/v1/sweeps?limit=1&after=$long"
    expect 200 '.items[0].name == "all" and .next == null'
    call GET '/v1/sweeps?after=nobody'
    expect_field /after
    call GET '/v1/sweeps/nobody'
    expect 404
    call POST '/v1/sweeps/nobody/cancel'
    expect 404
    call DELETE '/v1/sweeps/nobody'
    expect 404
    call DELETE '/v1/sweeps/long?runs=maybe'
    expect_field /runs
    call DELETE '/v1/sweeps/long?runs=true'
    expect 200 '.freed_bytes > 0'
    call GET '/v1/runs?status=cancelled'
    expect 200 '.items == []'
    # a run that was deleted has no row; a sweep that was deleted leaves its runs
    call GET /v1/sweeps/all
    local first second
    first=$(field '.rows[0].run')
    second=$(field '.rows[1].run')
    call DELETE "/v1/runs/$first"
    expect 200
    call GET /v1/sweeps/all
    expect 200 '(.rows | length) == 5 and .summary[0].runs == 1 and .summary[0].val_accuracy_std == null'
    call DELETE /v1/sweeps/all
    expect 200
    call GET "/v1/runs/$second"
    expect 200 '.sweep == null'
    call GET /v1/sweeps/all
    expect 404
}

@test "a sweep goes on after the service was killed" {
    sweep '{"name":"survivor","model":"tiny","dataset":"three","strategies":["attention","ffn"],"seeds":[0,1],"defaults":{"epochs":25,"batch_size":4,"checkpoint_every_seconds":0.1}}'
    expect 201
    second() { call GET /v1/sweeps/survivor && [ "$(field '.counts.succeeded >= 1')" = true ]; }
    eventually 60 second
    stop_server KILL
    launch
    wait_sweep survivor succeeded
    expect 200 '.counts.succeeded == 4'
}
