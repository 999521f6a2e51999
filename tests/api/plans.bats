# Plans: counts, and everything that a run's body can have wrong.

load helpers

setup_file() {
    start_server
    inputs archives
    new_model tiny
    new_model headed 3
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    post_json /v1/models '{"name":"deep","init":"random","architecture":{"image_size":64,"patch_size":16,"dim":32,"depth":12,"heads":2}}'
    expect 201
}

teardown_file() {
    finish_file
}

plan() {
    post_json /v1/plans "$1"
}

@test "parameters by strategy" {
    local attention='12 * (2*32 + 3*32*32 + 3*32 + 32*32 + 32)' ffn='12 * (2*32 + 2*4*32*32 + 4*32 + 32)' head='100 * 33'
    local full="$attention + $ffn + $head + 32*16*16*3 + 32 + 32 + 17*32 + 2*32"
    for pair in "full:$full" "linear:$head" "attention:$attention + $head" "ffn:$ffn + $head"; do
        plan "{\"model\":\"deep\",\"classes\":100,\"strategy\":\"${pair%%:*}\"}"
        expect 200 ".tuned_parameters == ${pair#*:} and .total_parameters == $full"
    done
    plan '{"model":"deep","classes":100,"strategy":{"kind":"custom","tune":["blocks.{5..11}.attn","blocks.{5..11}.norm1","blocks.{5..11}.mlp","blocks.{5..11}.norm2","head"]}}'
    expect 200 ".tuned_parameters == ($attention + $ffn) * 7 / 12 + $head and .lowest_tuned_block == 5 and .frozen_prefix_blocks == 5 and .prefix_cached and (.tuned_layers | length) == 15"
}

@test "steps, memory and time" {
    plan '{"model":"tiny","dataset":"three","strategy":"linear","epochs":3,"batch_size":4}'
    expect 200 '.steps == 15 and .steps_per_epoch == 5 and .lowest_tuned_block == null and .tuned_layers == ["head"] and .prefix_cached'
    expect 200 '.memory_bytes | .total == .weights + .gradients + .optimizer + .activations + .prefix_cache + .process'
    expect 200 '.estimated_seconds > 0 and .lr == 0.001 and .image_size == 32'
    plan '{"model":"deep","classes":10,"train_images":640,"val_images":0,"strategy":"full","epochs":1,"batch_size":64}'
    expect 200 '.steps == 10 and .lowest_tuned_block == 0 and .frozen_prefix_blocks == 0 and (.prefix_cached | not) and .ideal_fraction_of_full == 1 and .lr == 5e-5'
    local full
    full=$(field .estimated_seconds)
    plan '{"model":"deep","classes":10,"train_images":640,"val_images":0,"strategy":"last_third","epochs":1,"batch_size":64}'
    expect 200 ".estimated_seconds < $full and .lr == 1e-4 and .lowest_tuned_block == 8"
}

@test "every bad field at once" {
    plan '{"model":"tiny","dataset":"three","strategy":"angle","epochs":0,"batch_size":-1,"lr":"fast","weight_decay":1e400,"seed":99999999999999999999,"optimizer":"lion","clip_norm":null,"augment":7,"colour":"red","a/b~c":1}'
    expect 422 '[.errors[].pointer] | sort == (["/a~1b~0c","/augment","/batch_size","/clip_norm","/colour","/epochs","/lr","/optimizer","/seed","/strategy","/weight_decay"] | sort)'
    plan '{}'
    expect 422 '[.errors[].pointer] | sort == ["/dataset","/model","/strategy"]'
    plan '{"model":3,"dataset":["x"],"strategy":null,"name":"Bad"}'
    expect 422 '[.errors[].pointer] | sort == ["/dataset","/model","/name","/strategy"]'
}

@test "bounds, one by one" {
    for field in epochs:0 epochs:10001 epochs:1.5 batch_size:0 batch_size:65537 micro_batch_size:0 micro_batch_size:65 lr:-1 lr:101 weight_decay:-0.1 \
        warmup_steps:-1 label_smoothing:1 clip_norm:-1 layer_decay:0 layer_decay:1.1 image_size:0 image_size:5000 seed:-1 eval_every_epochs:0 \
        checkpoint_every_seconds:-5 early_stop_epochs:0 priority:101 threads:0 threads:2000 'precision:"int8"' 'head:"new"' 'schedule:"linear"' \
        'class_weights:true' 'epochs:"10"' 'epochs:null' 'epochs:[1]' 'epochs:{}' 'epochs:true' 'name:""'; do
        plan "{\"model\":\"tiny\",\"dataset\":\"three\",\"strategy\":\"full\",\"${field%%:*}\":${field#*:}}"
        expect_field "/${field%%:*}"
    done
}

@test "strategies" {
    for kind in full linear attention ffn first_third middle_third last_third odd even norm bias; do
        plan "{\"model\":\"deep\",\"classes\":3,\"strategy\":{\"kind\":\"$kind\"}}"
        expect 200 '.tuned_layers | index("head") != null'
    done
    plan '{"model":"tiny","classes":3,"strategy":"custom"}'
    expect_field /strategy
    plan '{"model":"tiny","classes":3,"strategy":{"kind":"custom"}}'
    expect_field /strategy/tune
    plan '{"model":"tiny","classes":3,"strategy":{"kind":"custom","tune":[]}}'
    expect_field /strategy/tune
    plan '{"model":"tiny","classes":3,"strategy":{"kind":"custom","tune":["blocks.*.attn",7]}}'
    expect_field /strategy/tune/1
    plan '{"model":"tiny","classes":3,"strategy":{"kind":"custom","tune":["blocks.*.attn","blocks.7.attn"]}}'
    expect_field /strategy/tune/1
    plan '{"model":"tiny","classes":3,"strategy":{"kind":"full","tune":["head"],"top":1}}'
    expect 422 '[.errors[].pointer] | sort == ["/strategy/top","/strategy/tune"]'
    plan '{"model":"tiny","classes":3,"strategy":{"kind":"angel"}}'
    expect_field /strategy/kind
    plan '{"model":"tiny","classes":3,"strategy":["full"]}'
    expect_field /strategy
}

@test "what does not fit together" {
    plan '{"model":"tiny","classes":3,"strategy":"full","precision":"bf16"}' # the service computes on the CPU
    expect_field /precision
    plan '{"model":"nobody","dataset":"nothing","strategy":"full"}'
    expect 422 '[.errors[].pointer] == ["/model","/dataset"]'
    plan '{"model":"tiny","dataset":"three","strategy":"full","image_size":30}'
    expect_field /image_size
    plan '{"model":"headed","classes":4,"strategy":"full","head":"keep"}'
    expect_field /head
    plan '{"model":"headed","dataset":"three","strategy":"full","head":"keep"}'
    expect 200
    plan '{"model":"tiny","classes":3,"dataset":"three","strategy":"full"}'
    expect_field /dataset
    plan '{"model":"tiny","train_images":30,"strategy":"full"}'
    expect 422
    plan '{"model":"tiny","classes":1,"strategy":"full"}'
    expect_field /classes
    call POST '/v1/plans?dry=1' -H 'Content-Type: application/json' -d '{"model":"tiny","classes":3,"strategy":"full"}'
    expect_field /dry
}

@test "a data set that was deleted" {
    upload '/v1/datasets?name=gone' "$IN/two.zip"
    expect 201
    local id
    id=$(field .id)
    plan "{\"model\":\"tiny\",\"dataset\":\"$id\",\"strategy\":\"full\"}"
    expect 200
    call DELETE /v1/datasets/gone
    expect 200
    plan "{\"model\":\"tiny\",\"dataset\":\"$id\",\"strategy\":\"full\"}"
    expect_field /dataset
}

@test "JSON that is malformed, deep, huge, or of another type" {
    for body in '' '{' '{"model":"tiny",}' '[1' '{"a":1}}' "{'a':1}" '{"a":NaN}' '{"a":1,"a":2}' $'{"a":"\xff"}' '{"a":"\u0000"}' 'null' '[]' '3'; do
        plan "$body"
        expect 400
    done
    python3 -c 'print("{\"a\":" + "[" * 100000 + "]" * 100000 + "}")' > "$BATS_TEST_TMPDIR/deep.json"
    plan "@$BATS_TEST_TMPDIR/deep.json"
    expect 400
    python3 -c 'print("{\"name\":\"" + "x" * 3000000 + "\"}")' > "$BATS_TEST_TMPDIR/huge.json"
    for path in /v1/plans /v1/runs; do
        post_json "$path" "@$BATS_TEST_TMPDIR/huge.json"
        expect 413
        call POST "$path" -H 'Content-Type: text/plain' -d '{}'
        expect 415
        post_json "$path" '{"model":'
        expect 400
    done
    python3 -c 'import json; print(json.dumps({"f%d" % i: 1 for i in range(20000)}))' > "$BATS_TEST_TMPDIR/many.json"
    plan "@$BATS_TEST_TMPDIR/many.json"
    expect 422 '(.errors | length) <= 64'
}
