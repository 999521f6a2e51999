# Soups: the three methods, the model that comes out, what does not mix; cancel, delete, restarts.

load helpers

setup_file() {
    start_server
    inputs pictures archives
    new_model tiny
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    export A B C
    A=$(tuned attention attention)
    B=$(tuned ffn ffn)
    C=$(tuned linear linear)
}

teardown_file() {
    finish_file
}

# tuned NAME STRATEGY [fields]: the model of a short run.
tuned() {
    post_json /v1/runs "$(jq -cn "{name: \"$1\", model: \"tiny\", dataset: \"three\", strategy: \"$2\", epochs: 2, batch_size: 6, lr: 0.003} + {${3:-}}")"
    expect 201 >&2
    wait_run "$1" succeeded 120 >&2
    field .result.model
}

# soup FIELDS: of the three models.
soup() {
    post_json /v1/soups "{\"models\":[\"$A\",\"$B\",\"$C\"],$1}"
}

@test "uniform, without a data set" {
    local backend
    call GET /v1/info
    backend=$(field .device.backend)
    soup '"name":"mean"'
    expect 201 '.status == "queued" and .method == "uniform" and .result == null and (.ingredients | length) == 3'
    expect 201 "(.gpu_bytes > 0) == (\"$backend\" != \"cpu\")"
    [ "$(header Location)" = "/v1/soups/$(field .id)" ]
    wait_job soups mean succeeded
    expect 200 '(.id | startswith("sop_")) and .progress.done == .progress.total and .result.val_accuracy == null and .result.kept == 3'
    expect 200 '.ingredients | all(.kept and .val_accuracy == null and (.weight - 1/3 | fabs) < 1e-12)'
    expect 200 "[.ingredients[].model] == [\"$A\",\"$B\",\"$C\"]"
    local soup model base
    soup=$(field .id)
    model=$(field .result.model)
    call GET /v1/models/tiny
    base=$(field .id)
    call GET "/v1/models/$model"
    expect 200 ".kind == \"tuned\" and .base == \"$base\" and .soup == \"$soup\" and .run == null and .labels == [\"blue\",\"green\",\"red\"] and .tuned_parameters > 0"
    call POST "/v1/models/$model/classify" -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200 '(.predictions | length) == 3'
    call GET "/v1/models/$model/angles"
    expect 200 '.run == null and (.epochs[0].layers | length) == 4'
    # the disk has the working files back
    [ ! -e "$DATA/soups/$soup/soup.bin" ] && [ ! -e "$DATA/soups/$soup/model.safetensors" ]
    call DELETE /v1/soups/mean
    expect 200 '.freed_bytes > 0'
    call GET /v1/soups/mean
    expect 404
    call GET "/v1/models/$model"
    expect 200
}

@test "one model alone stays what it is" {
    post_json /v1/soups "{\"name\":\"alone\",\"models\":[\"$A\"],\"dataset\":\"three\"}"
    expect 201
    wait_job soups alone succeeded
    local model
    model=$(field .result.model)
    expect 200 '.result.val_accuracy == .ingredients[0].val_accuracy and .ingredients[0].weight == 1'
    call GET "/v1/models/$A/checkpoint?content=full"
    cp "$BODY" "$BATS_TEST_TMPDIR/a"
    call GET "/v1/models/$model/checkpoint?content=full"
    expect 200
    # the tensors, behind the header
    python3 - "$BODY" "$BATS_TEST_TMPDIR/a" <<'END'
import struct, sys
one, two = (open(path, 'rb').read() for path in sys.argv[1:])
assert one[8 + struct.unpack('<Q', one[:8])[0]:] == two[8 + struct.unpack('<Q', two[:8])[0]:]
END
}

@test "weighted: only the ratios count" {
    soup '"name":"weighed","method":"weighted","weights":[2,0,6]'
    expect 201 '.weights == [2,0,6]'
    wait_job soups weighed succeeded
    expect 200 '[.ingredients[] | [.kept, .weight]] == [[true,0.25],[false,0],[true,0.75]]'
}

@test "greedy is never below its best ingredient" {
    soup '"name":"greedy","method":"greedy","dataset":"three"'
    expect 201
    wait_job soups greedy succeeded
    expect 200 '.result.val_accuracy >= ([.ingredients[].val_accuracy] | max) and .result.kept == ([.ingredients[] | select(.kept)] | length)'
    expect 200 '([.ingredients[].weight] | add - 1 | fabs) < 1e-9 and (.ingredients | all(.kept == (.weight > 0)))'
    local accuracy model
    accuracy=$(field .result.val_accuracy)
    model=$(field .result.model)
    post_json /v1/evaluations "{\"name\":\"of-greedy\",\"model\":\"$model\",\"dataset\":\"three\"}"
    expect 201
    wait_job evaluations of-greedy succeeded
    expect 200 ".result.accuracy == $accuracy"
    call GET /v1/soups/greedy/events
    expect 200
    grep -A2 '^event: record$' "$BODY" | grep '^data: ' | sed 's/^data: //' | jq -e '.ingredients | length == 3'
    call GET /v1/soups/greedy/log
    expect 200
    call GET '/v1/soups?status=succeeded'
    expect 200 '[.items[].name] | index("greedy") != null'
    call GET '/v1/soups?status=stirred'
    expect_field /status
}

@test "what does not mix" {
    soup '"method":"greedy"'
    expect_field /dataset
    soup '"method":"weighted"'
    expect_field /weights
    soup '"weights":[1,1,1]'
    expect_field /weights
    soup '"method":"weighted","weights":[1,1]'
    expect_field /weights
    soup '"method":"weighted","weights":[0,0,0]'
    expect_field /weights
    soup '"method":"weighted","weights":[1,-1,1]'
    expect_field /weights/1
    soup '"method":"weighted","weights":[1,"2",1]'
    expect_field /weights/1
    soup '"method":"weighted","weights":2'
    expect_field /weights
    soup '"method":"stirred"'
    expect_field /method
    soup '"dataset":"none"'
    expect_field /dataset
    soup '"salt":1'
    expect_field /salt
    local models
    for models in '[] /models' '"x" /models' '["none"] /models/0' '[7] /models/0' '["tiny"] /models/0' "[\"$A\",\"$A\"] /models/1"; do
        post_json /v1/soups "{\"models\":${models% *}}"
        expect_field "${models#* }"
    done
    post_json /v1/soups '{"method":"uniform"}'
    expect_field /models
    # another base, and other labels or shapes on the same one
    post_json /v1/models '{"name":"tiny2","init":"random","seed":1,"architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":2,"heads":2,"mlp_dim":64,"pool":"cls"}}'
    expect 201
    local other larger renamed
    other=$(tuned other-base linear '"model":"tiny2"')
    post_json /v1/soups "{\"models\":[\"$A\",\"$other\"]}"
    expect_field /models/1
    larger=$(tuned larger linear '"image_size":48')
    post_json /v1/soups "{\"models\":[\"$A\",\"$B\",\"$larger\"]}"
    expect_field /models/2
    upload '/v1/datasets?name=renamed' "$IN/renamed.zip"
    expect 201
    renamed=$(tuned renamed linear '"dataset":"renamed"')
    post_json /v1/soups "{\"models\":[\"$A\",\"$renamed\"]}"
    expect_field /models/1
    [[ $(field '.errors[0].detail') == *cyan* || $(field '.errors[0].detail') == *blue* ]]
    # a data set with other classes than the models have
    soup '"method":"greedy","dataset":"renamed"'
    expect_field /dataset
    post_json /v1/soups "{\"models\":[\"$A\"],\"name\":\"Not A Name\"}"
    expect_field /name
    post_json /v1/soups '{"models":['
    expect 400
    call POST /v1/soups -H 'Content-Type: text/plain' --data-binary x
    expect 415
    head -c 2000000 /dev/zero | tr '\0' ' ' > "$BATS_TEST_TMPDIR/large"
    call POST /v1/soups -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/large"
    expect 413
}

@test "a queued soup holds its ingredients; cancel, names" {
    post_json /v1/runs '{"name":"busy","model":"tiny","dataset":"three","strategy":"full","epochs":10000,"batch_size":2,"eval_every_epochs":10000}'
    expect 201
    wait_run busy running
    soup '"name":"waiting","method":"greedy","dataset":"three"'
    expect 201
    local id
    id=$(field .id)
    soup '"name":"waiting"'
    expect 409
    call DELETE "/v1/models/$B"
    expect 409 ".detail | contains(\"queued soup $id\")"
    call DELETE /v1/soups/waiting
    expect 409
    # a soup and a run may share a name; the larger priority goes first, whatever its kind
    soup '"name":"busy","priority":7'
    expect 201 '.priority == 7'
    call POST /v1/runs/busy/cancel
    wait_run busy cancelled
    wait_job soups waiting succeeded
    local later
    later=$(field .started_at)
    call GET /v1/soups/busy
    expect 200 ".status == \"succeeded\" and .started_at <= \"$later\""
    call POST /v1/soups/waiting/cancel
    expect 409
    post_json /v1/runs '{"name":"busy2","model":"tiny","dataset":"three","strategy":"full","epochs":10000,"batch_size":2,"eval_every_epochs":10000}'
    expect 201
    wait_run busy2 running
    soup '"name":"cancelled"'
    expect 201
    call POST /v1/soups/cancelled/cancel
    expect 200
    wait_job soups cancelled cancelled
    call POST /v1/runs/busy2/cancel
    wait_run busy2 cancelled
    call POST /v1/soups/nobody/cancel
    expect 404
    for path in '' /events /log; do
        call GET "/v1/soups/nobody$path"
        expect 404
    done
    call DELETE /v1/soups/nobody
    expect 404
    call GET /metrics
    expect 200
    grep -q '^gonio_soups{status="succeeded"} [1-9]' "$BODY"
}

@test "worker and service are killed at work: the soup goes on" {
    # slow enough to be caught at work
    post_json /v1/models '{"name":"slow","init":"random","architecture":{"image_size":64,"patch_size":8,"dim":384,"depth":2,"heads":6,"mlp_dim":1536,"pool":"cls"}}'
    expect 201
    local one two
    one=$(tuned slow-1 linear '"model":"slow","epochs":1')
    two=$(tuned slow-2 linear '"model":"slow","epochs":1,"seed":1')
    post_json /v1/soups "{\"name\":\"killed\",\"models\":[\"$one\",\"$two\"],\"method\":\"greedy\",\"dataset\":\"three\"}"
    expect 201
    kill_worker
    again() {
        call GET /v1/soups/killed
        [ "$(field .attempts)" -ge 2 ]
    }
    eventually 60 again
    stop_server KILL
    launch
    wait_job soups killed succeeded 120
    expect 200 '.attempts >= 2 and .result.val_accuracy >= ([.ingredients[].val_accuracy] | max)'
}
