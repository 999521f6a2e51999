# Evaluations: the figures, the matrix, the pictures behind it; what cannot be evaluated; cancel,
# delete, restarts.

load helpers

setup_file() {
    start_server
    inputs pictures archives
    new_model tiny
    new_model heavy 3
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    post_json /v1/runs '{"name":"first","model":"tiny","dataset":"three","strategy":"attention","epochs":2,"batch_size":6,"lr":0.003}'
    expect 201
    wait_run first succeeded
    export MODEL
    MODEL=$(field .result.model)
    # slow enough to be caught at work
    post_json /v1/models '{"name":"slow","init":"random","labels":["blue","green","red"],"architecture":{"image_size":64,"patch_size":8,"dim":384,"depth":2,"heads":6,"mlp_dim":1536,"classes":3,"pool":"cls"}}'
    expect 201
    evaluate ready "$MODEL" all
    wait_job evaluations ready succeeded
}

teardown_file() {
    finish_file
}

# evaluate NAME MODEL SPLIT
evaluate() {
    post_json /v1/evaluations "{\"name\":\"$1\",\"model\":\"$2\",\"dataset\":\"three\",\"split\":\"$3\"}"
    expect 201 '.status == "queued" and .result == null and .progress.done == 0'
    [ "$(header Location)" = "/v1/evaluations/$(field .id)" ]
}

@test "the report" {
    call GET /v1/evaluations/ready
    expect 200 '.id | startswith("evl_")'
    expect 200 '.attempts == 1 and .split == "all" and .progress.done == .progress.total and .error == null'
    expect 200 '.result | .images == ([.per_class[].images] | add) and .images == ([.confusion[][]] | add) and .images == ([.calibration[].images] | add)'
    expect 200 '.result | .accuracy == (([.confusion[0][0], .confusion[1][1], .confusion[2][2]] | add) / .images) and .top5_accuracy == 1 and .loss > 0 and .ece >= 0 and .ece <= 1'
    expect 200 '.result | [.per_class[].class] == ["blue","green","red"] and (.calibration | length) == 15'
    expect 200 '.result | [range(3) as $k | .per_class[$k].images == (.confusion[$k] | add)] | all'
    local images
    images=$(field .result.images)
    call GET /v1/datasets/three
    expect 200 "[.images.train, .images.val, .images.test] | add == $images"
    call GET /v1/evaluations
    expect 200 '.items | map(select(.name == "ready"))[0].result | has("accuracy") and (has("confusion") | not)'
}

@test "the validation split gives what the run's best epoch was measured with" {
    evaluate val "$MODEL" val
    wait_job evaluations val succeeded
    local accuracy
    accuracy=$(field .result.accuracy)
    call GET /v1/runs/first
    expect 200 ".result.val_accuracy == $accuracy"
    call DELETE /v1/evaluations/val
    expect 200 '.freed_bytes > 0'
    call GET /v1/evaluations/val
    expect 404
}

@test "the pictures behind a cell" {
    call GET /v1/evaluations/ready
    expect 200
    local matrix
    matrix=$(field '.result.confusion[0][0]')
    call GET '/v1/evaluations/ready/images?limit=1000'
    expect 200 '.next == null and (.items | all(.confidence > 0 and .confidence <= 1)) and ([.items[].index] | length == (unique | length))'
    # mistakes first, and each part most confident first
    expect 200 '[.items[] | [(if .label == .predicted then 1 else 0 end), -.confidence]] | . == sort'
    local all
    all=$(field '[.items[].index] | tojson')
    call GET '/v1/evaluations/ready/images?label=blue&predicted=blue'
    expect 200 "(.items | length) == $matrix and (.items | all(.label == \"blue\" and .predicted == \"blue\"))"
    # page by page, the same
    local pages='[]' after=''
    while :; do
        call GET "/v1/evaluations/ready/images?limit=4$after"
        expect 200
        pages=$(jq -c --argjson so_far "$pages" '$so_far + [.items[].index]' "$BODY")
        [ "$(field .next)" != null ] || break
        after="&after=$(field .next)"
    done
    [ "$pages" = "$all" ]
    local index
    index=$(field '.items[0].index')
    call GET "/v1/datasets/three/images/$index"
    expect 200
    call GET '/v1/evaluations/ready/images?label=pink'
    expect_field /label
    call GET '/v1/evaluations/ready/images?predicted=pink'
    expect_field /predicted
    call GET '/v1/evaluations/ready/images?after=99999'
    expect_field /after
    call GET /v1/evaluations/nobody/images
    expect 404
}

@test "what cannot be evaluated" {
    local bad
    for bad in '"model":"none" /model' '"dataset":"none" /dataset' '"split":"test" /split' '"split":"some" /split' '"model":"heavy" /model' '"model":7 /model' '"priority":1000 /priority' '"nonsense":1 /nonsense'; do
        post_json /v1/evaluations "$(jq -cn --arg model "$MODEL" "{model: \$model, dataset: \"three\"} + {${bad% *}}")"
        expect_field "${bad#* }"
    done
    post_json /v1/evaluations '{"model":"tiny"}'
    expect_field /dataset
    # a model without a head, and one of other classes
    post_json /v1/evaluations '{"model":"tiny","dataset":"three"}'
    expect_field /model
    post_json /v1/models '{"name":"other","init":"random","labels":["blue","green","pink"],"architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":1,"heads":2,"mlp_dim":64,"classes":3,"pool":"cls"}}'
    expect 201
    post_json /v1/evaluations '{"model":"other","dataset":"three"}'
    expect 422 '.errors[0] | .pointer == "/dataset" and (.detail | contains("pink") or contains("red"))'
    post_json /v1/evaluations "{\"name\":\"ready\",\"model\":\"$MODEL\",\"dataset\":\"three\"}"
    expect 409
    post_json /v1/evaluations '{"model":'
    expect 400
    call POST /v1/evaluations -H 'Content-Type: text/plain' --data-binary x
    expect 415
    head -c 2000000 /dev/zero | tr '\0' ' ' > "$BATS_TEST_TMPDIR/large"
    call POST /v1/evaluations -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/large"
    expect 413
}

@test "a queued evaluation holds its model and data set; cancel" {
    post_json /v1/runs '{"name":"busy","model":"tiny","dataset":"three","strategy":"full","epochs":10000,"batch_size":2,"eval_every_epochs":10000}'
    expect 201
    wait_run busy running
    evaluate waiting "$MODEL" val
    local id
    id=$(field .id)
    call DELETE "/v1/models/$MODEL"
    expect 409 ".detail | contains(\"queued evaluation $id\")"
    call DELETE /v1/datasets/three
    expect 409
    call DELETE /v1/evaluations/waiting
    expect 409
    call GET /v1/evaluations/waiting/images
    expect 409
    call GET /v1/evaluations/waiting/log
    expect 200
    call GET '/v1/evaluations?status=queued'
    expect 200 '[.items[].name] == ["waiting"]'
    call GET '/v1/evaluations?status=waiting'
    expect_field /status
    call POST /v1/evaluations/waiting/cancel
    expect 200 '.status == "cancelled"'
    call POST /v1/evaluations/waiting/cancel
    expect 409
    call POST /v1/runs/busy/cancel
    wait_run busy cancelled
    call POST /v1/evaluations/nobody/cancel
    expect 404
    call DELETE /v1/evaluations/nobody
    expect 404
    call GET /v1/evaluations/nobody/log
    expect 404
    call GET /v1/evaluations/nobody/events
    expect 404
}

@test "events" {
    call GET /v1/evaluations/ready/events
    expect 200
    [ "$TYPE" = text/event-stream ]
    grep -A2 '^event: progress$' "$BODY" | grep '^data: ' | tail -1 | sed 's/^data: //' | jq -e '.done == .total and has("eta_seconds")'
    grep -A2 '^event: status$' "$BODY" | grep '^data: ' | tail -1 | grep -q succeeded
}

@test "an evaluation outlives its data set, but for the pictures" {
    upload '/v1/datasets?name=passing' "$IN/good.zip"
    expect 201
    post_json /v1/evaluations "{\"name\":\"outlives\",\"model\":\"$MODEL\",\"dataset\":\"passing\"}"
    expect 201 '.split == "val"'
    wait_job evaluations outlives succeeded
    call DELETE /v1/datasets/passing
    expect 200
    call GET /v1/evaluations/outlives
    expect 200 '.result.confusion | length == 3'
    call GET /v1/evaluations/outlives/images
    expect 409
}

@test "worker and service are killed at work: the evaluation goes on" {
    evaluate killed slow all
    kill_worker
    again() {
        call GET /v1/evaluations/killed
        [ "$(field .attempts)" -ge 2 ]
    }
    eventually 60 again
    stop_server KILL
    launch
    wait_job evaluations killed succeeded 120
    expect 200 '.attempts >= 2 and .result.images == ([.result.confusion[][]] | add)'
}
