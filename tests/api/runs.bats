# Runs: launch, watch, result, angles, the tuned model; cancel, resume, delete; conflicts; a restart
# in mid-run.

load helpers

setup_file() {
    start_server
    inputs pictures archives
    new_model tiny
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    # small pictures are learnt in a moment
    post_json /v1/runs '{"name":"first","model":"tiny","dataset":"three","strategy":"attention","epochs":4,"batch_size":6,"lr":0.003}'
    expect 201 '.status == "queued" and .attempts == 0 and .result == null and .error == null and .lr == 0.003 and .image_size == 32 and .weight_decay == 0.05'
    expect 201 '.tuned_layers == ["blocks.0.attn","blocks.1.attn","head"] and (.model | startswith("mdl_")) and (.dataset | startswith("dst_"))'
    [ "$(header Location)" = "/v1/runs/$(field .id)" ]
    wait_run first succeeded
}

teardown_file() {
    finish_file
}

# A run that goes on until it is stopped.
long_run() {
    post_json /v1/runs "{\"name\":\"$1\",\"model\":\"tiny\",\"dataset\":\"three\",\"strategy\":\"full\",\"epochs\":10000,\"batch_size\":2,\"eval_every_epochs\":10000,\"checkpoint_every_seconds\":0.2,\"augment\":\"flip\"}"
    expect 201
}

@test "the result and the tuned model" {
    call GET /v1/runs/first
    expect 200 '.status == "succeeded" and .attempts == 1 and .started_at >= .created_at and .finished_at >= .started_at'
    expect 200 '.result | .val_accuracy >= 0 and .best_epoch >= 1 and .best_epoch <= 4 and .seconds > 0 and .peak_memory_bytes > 1000000'
    expect 200 '.progress | .epoch == 4 and .step == .steps and .steps == 12'
    local run model
    run=$(field .id)
    model=$(field .result.model)
    call GET "/v1/models/$model"
    expect 200 ".kind == \"tuned\" and .run == \"$run\" and .labels == [\"blue\",\"green\",\"red\"] and .architecture.classes == 3 and .import == null"
    expect 200 '.tuned_parameters == 2 * (2*32 + 3*32*32 + 3*32 + 32*32 + 32) + 3*33 and .bytes < 200000'
    call POST "/v1/models/$model/classify" -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200 '[.predictions[].label] | sort == ["blue","green","red"]'
    call GET "/v1/models/$model/checkpoint?content=delta"
    expect 200
    local delta
    delta=$(stat -c %s "$BODY")
    grep -aEq '"gonio\.base":"[0-9a-f]{64}"' "$BODY" # as in the file that the run wrote
    call GET "/v1/models/$model/checkpoint?content=full&dtype=f16"
    expect 200
    [ "$delta" -lt 100000 ]
    call DELETE /v1/models/tiny
    expect 409
}

@test "metrics, as JSON and as a table" {
    call GET /v1/runs/first/metrics
    expect 200 '([.steps[].step] | . == (sort | unique) and .[0] == 1 and contains([3,6,9,12])) and [.epochs[].epoch] == [1,2,3,4] and (.epochs | all(.val_accuracy != null)) and (.steps | all(.loss > 0))'
    call GET /v1/runs/first/metrics -H 'Accept: text/csv'
    expect 200
    [ "$TYPE" = text/csv ]
    [ "$(head -1 "$BODY" | tr -d '\r')" = epoch,train_loss,val_loss,val_accuracy,val_macro_f1,seconds ]
    [ "$(wc -l < "$BODY")" = 5 ]
    call GET /v1/runs/nobody/metrics
    expect 404
}

@test "events from the first to the last, and from any on" {
    call GET /v1/runs/first/events
    expect 200
    [ "$TYPE" = text/event-stream ]
    [ "$(grep -c '^event: step$' "$BODY")" -ge 4 ]
    [ "$(grep -c '^event: epoch$' "$BODY")" = 4 ]
    [ "$(grep -c '^event: angles$' "$BODY")" = 4 ]
    grep -A2 '^event: status$' "$BODY" | grep '^data: ' | tail -1 | grep -q succeeded
    [ "$(grep '^id: ' "$BODY" | cut -d' ' -f2 | sort -n | uniq -d | wc -l)" = 0 ]
    grep -A2 '^event: step$' "$BODY" | grep '^data: ' | head -1 | sed 's/^data: //' | jq -e '.step == 1 and .epoch == 1 and .loss > 0 and has("grad_norm") and has("lr") and has("images_per_second")'
    local last
    last=$(grep '^id: ' "$BODY" | tail -1 | cut -d' ' -f2)
    call GET /v1/runs/first/events -H "Last-Event-ID: $((last - 1))"
    expect 200
    [ "$(grep '^id: ' "$BODY" | cut -d' ' -f2)" = "$last" ]
    call GET /v1/runs/nobody/events
    expect 404
}

@test "angles of every epoch, and of the model" {
    call GET /v1/runs/first/angles
    expect 200 '.unit == "degree" and [.epochs[].epoch] == [4] and [.epochs[0].layers[].name] == ["blocks.0.attn","blocks.0.mlp","blocks.1.attn","blocks.1.mlp"]'
    expect 200 '.epochs[0].layers | map(select(.group == "ffn").degrees) == [0,0] and (map(select(.group == "attention").degrees) | all(. > 0)) and (map(select(.group == "attention").rank) | sort == [1,2])'
    call GET '/v1/runs/first/angles?epoch=all'
    expect 200 '[.epochs[].epoch] == [1,2,3,4]'
    call GET '/v1/runs/first/angles?epoch=2'
    expect 200 '[.epochs[].epoch] == [2]'
    call GET '/v1/runs/first/angles?epoch=9'
    expect 404
    call GET '/v1/runs/first/angles?epoch=zero'
    expect_field /epoch
    call GET /v1/runs/first
    local best model
    best=$(field .result.best_epoch)
    model=$(field .result.model)
    call GET "/v1/runs/first/angles?epoch=$best"
    local told
    told=$(field '[.epochs[0].layers[].degrees | . * 1000 | round] | tostring')
    call GET "/v1/models/$model/angles"
    expect 200 ".epochs[0].epoch == $best and ([.epochs[0].layers[].degrees | . * 1000 | round] | tostring) == \"$told\""
    call GET /v1/runs/nobody/angles
    expect 404
}

@test "the log" {
    call GET /v1/runs/first/log
    expect 200
    [ "$TYPE" = text/plain ]
    call GET /v1/runs/nobody/log
    expect 404
}

@test "a name is taken once; what is wrong is named and nothing is launched" {
    leaves_nothing post_json /v1/runs '{"name":"first","model":"tiny","dataset":"three","strategy":"linear"}'
    expect 409
    leaves_nothing post_json /v1/runs '{"model":"tiny","dataset":"nothing","strategy":"linear","colour":"red"}'
    expect 422 '[.errors[].pointer] | sort == ["/colour","/dataset"]'
    leaves_nothing post_json /v1/runs '{"model":"tiny","classes":3,"strategy":"linear"}'
    expect_field /classes
}

@test "the same seed gives the same model" {
    for name in twin-1 twin-2; do
        post_json /v1/runs "{\"name\":\"$name\",\"model\":\"tiny\",\"dataset\":\"three\",\"strategy\":\"full\",\"epochs\":2,\"batch_size\":5,\"head\":\"random\",\"augment\":\"standard\",\"seed\":7,\"threads\":1}"
        expect 201
        wait_run "$name" succeeded
    done
    local one
    call GET "/v1/models/$(field .result.model)"
    one=$(field .sha256)
    call GET /v1/runs/twin-1
    call GET "/v1/models/$(field .result.model)"
    [ "$(field .sha256)" = "$one" ]
}

@test "a tuned model is tuned further, with its own head" {
    call GET /v1/runs/first
    post_json /v1/runs "{\"name\":\"second\",\"model\":\"$(field .result.model)\",\"dataset\":\"three\",\"strategy\":{\"kind\":\"custom\",\"tune\":[\"blocks.1.mlp.fc2.*\"]},\"head\":\"keep\",\"epochs\":1}"
    expect 201 '.strategy == {"kind":"custom","tune":["blocks.1.mlp.fc2.*"]} and .tuned_layers == ["blocks.1.mlp","head"]'
    wait_run second succeeded
    local model
    model=$(field .result.model)
    call GET "/v1/models/$model"
    expect 200 '.kind == "tuned"'
    call DELETE "/v1/models/$(field .base)"
    expect 409
    call POST "/v1/models/$model/classify" -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200
    call DELETE "/v1/models/$model"
    expect 200
}

@test "another picture size: positions are resampled, and the tuned model keeps it" {
    post_json /v1/runs '{"name":"larger","model":"tiny","dataset":"three","strategy":"ffn","image_size":48,"epochs":1,"batch_size":32,"augment":"standard","schedule":"constant","optimizer":"sgd","class_weights":"balanced"}'
    expect 201 '.image_size == 48'
    wait_run larger succeeded
    local model
    model=$(field .result.model)
    call GET "/v1/models/$model"
    expect 200 '.architecture.image_size == 48'
    call POST "/v1/models/$model/classify" -H 'Content-Type: image/png' --data-binary "@$IN/b.png"
    expect 200 '(.predictions | length) == 3'
    call GET "/v1/models/$model/angles"
    expect 200 '.epochs[0].layers | map(select(.group == "attention").degrees) == [0,0]'
    call GET "/v1/models/$model/checkpoint"
    expect 200
    cp "$BODY" "$BATS_TEST_TMPDIR/larger.safetensors"
    upload '/v1/models?heads=2' "$BATS_TEST_TMPDIR/larger.safetensors"
    expect 201 '.architecture.image_size == 48 and .architecture.classes == 3'
}

@test "cancel, resume, cancel; delete" {
    long_run long
    wait_run long running
    call GET '/v1/runs?status=running'
    expect 200 '[.items[].name] | index("long") != null'
    call DELETE /v1/runs/long
    expect 409
    call DELETE /v1/datasets/three
    expect 409
    call POST /v1/runs/long/resume
    expect 409
    # a listener hears every event as it comes, and the end
    curl -sN --max-time 60 "$URL/v1/runs/long/events" > "$BATS_TEST_TMPDIR/stream" &
    local listener=$!
    eventually 30 grep -q '^event: step$' "$BATS_TEST_TMPDIR/stream"
    call POST /v1/runs/long/cancel
    expect 200
    wait_run long cancelled
    wait $listener
    grep '^data: ' "$BATS_TEST_TMPDIR/stream" | tail -1 | grep -q cancelled
    expect 200 '.finished_at != null and .result == null'
    call POST /v1/runs/long/cancel
    expect 409
    local step
    step=$(field .progress.step)
    call POST /v1/runs/long/resume
    expect 200
    wait_run long running
    sleep 0.5
    call GET /v1/runs/long
    expect 200 '.attempts == 2'
    call POST /v1/runs/long/cancel
    wait_run long cancelled
    call GET /v1/runs/long/metrics
    expect 200 '[.steps[].step] | . == (sort | unique)'
    local id
    call GET /v1/runs/long
    id=$(field .id)
    call DELETE /v1/runs/long
    expect 200 '.freed_bytes > 0'
    [ ! -e "$DATA/runs/$id" ]
    for verb in cancel resume; do
        call POST "/v1/runs/long/$verb"
        expect 404
    done
    call DELETE /v1/runs/long
    expect 404
    call GET /v1/runs/long
    expect 404
}

@test "a queued run waits its turn, has no angles yet, and can be cancelled" {
    long_run busy
    wait_run busy running
    post_json /v1/runs '{"name":"waiting","model":"tiny","dataset":"three","strategy":"linear","priority":5}'
    expect 201
    call GET /v1/runs/waiting
    expect 200 '.status == "queued" and .started_at == null'
    call GET /v1/runs/waiting/angles
    expect 200 '.epochs == []'
    call GET /v1/runs/waiting/log
    expect 200
    call GET /v1/runs/waiting/metrics
    expect 200 '.steps == [] and .epochs == []'
    call POST /v1/runs/waiting/cancel
    expect 200
    wait_run waiting cancelled
    call POST /v1/runs/busy/cancel
    wait_run busy cancelled
}

@test "a run that was going when the service stopped goes on at its next start" {
    long_run through
    wait_run through running
    sleep 0.6
    stop_server
    launch
    wait_run through running
    expect 200 '.attempts == 2'
    sleep 0.3
    stop_server KILL
    launch
    wait_run through running
    call POST /v1/runs/through/cancel
    wait_run through cancelled
    call GET /v1/runs/through/metrics
    expect 200 '[.steps[].step] | . == (sort | unique)'
}

# Writes into the result of a run that is done, in the database of the stopped service:
# change_result RUN 'Python on the dict r'
change_result() {
    stop_server
    python3 - "$DATA/gonio.db" "$1" "$2" << 'END'
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
r = json.loads(db.execute("SELECT result FROM jobs WHERE name = ?", (sys.argv[2],)).fetchone()[0])
exec(sys.argv[3])
db.execute("UPDATE jobs SET result = ? WHERE name = ?", (json.dumps(r), sys.argv[2]))
db.commit()
END
    launch
}

@test "the time that a plan estimates is that of a run on this device, or a CPU's own" {
    local device unknown='.estimated_seconds > 0 and .estimated_seconds < 50'
    local run='"model":"timed","dataset":"three","strategy":"attention","epochs":4,"batch_size":6'
    stop_server # the test before has left it at an address that this one does not know
    launch
    call GET /v1/info
    device=$(field .device.name)
    [ "$(field .device.backend)" = cpu ] || unknown='.estimated_seconds == null'
    new_model timed
    post_json /v1/plans "{$run}"
    expect 200 "$unknown"
    post_json /v1/runs "{\"name\":\"timed\",$run}"
    expect 201
    wait_run timed succeeded
    expect 200 ".result.device == \"$device\" and (.result.precision | test(\"fp32|tf32|bf16\"))"
    change_result timed 'r["seconds"] = 100'
    post_json /v1/plans "{$run}"
    expect 200 '.estimated_seconds > 99.9 and .estimated_seconds < 100.1'
    change_result timed 'r["device"] = "another"'
    post_json /v1/plans "{$run}"
    expect 200 "$unknown"
    # of a run of a former version it is known whether it had a GPU, not which
    change_result timed 'del r["device"], r["precision"]'
    post_json /v1/plans "{$run}"
    expect 200 "$([ "$unknown" = '.estimated_seconds == null' ] && echo "$unknown" || echo '.estimated_seconds > 99.9')"
}
