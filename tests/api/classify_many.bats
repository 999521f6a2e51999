# One picture, several models: what they share is computed once, and each says what it says alone.

load helpers

setup_file() {
    start_server
    inputs pictures archives
    post_json /v1/models '{"name":"tiny","init":"random","architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":3,"heads":2,"mlp_dim":64}}'
    expect 201
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    for strategy in linear last_third attention; do
        tune "$strategy" "\"strategy\":\"$strategy\""
    done
    tune larger '"strategy":"linear","image_size":48'
}

teardown_file() {
    finish_file
}

# tune NAME FIELDS: a run, and its model under the name.
tune() {
    post_json /v1/runs "{\"model\":\"tiny\",\"dataset\":\"three\",\"epochs\":2,\"batch_size\":6,\"lr\":0.003,$2}"
    expect 201
    wait_run "$(field .id)" succeeded
    call PATCH "/v1/models/$(field .result.model)" -H 'Content-Type: application/json' -d "{\"name\":\"$1\"}"
    expect 200
}

ask() {
    call POST "/v1/models/$1" -H 'Content-Type: image/png' --data-binary "@$IN/${2:-b.png}"
}

id_of() {
    call GET "/v1/models/$1"
    field .id
}

@test "each gives what it gives alone, bit for bit" {
    local linear third attention alone
    linear=$(id_of linear) third=$(id_of last_third) attention=$(id_of attention)
    for name in linear last_third attention; do
        ask "$name/classify"
        field .predictions
    done | jq -s . > "$BATS_TEST_TMPDIR/alone"
    alone=$(cat "$BATS_TEST_TMPDIR/alone")
    ask 'linear/classify?models=last_third,attention'
    expect 200 "[.models[].predictions] == $alone and [.models[].model] == [\"$linear\",\"$third\",\"$attention\"]"
    expect 200 '.shared_blocks == 0 and .timing.compute_seconds > 0 and (has("model") | not)'
    # the base stands for its models, and a model may be named again
    ask 'tiny/classify?models=linear,last_third,attention&top=3'
    expect 200 "[.models[].predictions] == $alone"
    ask 'attention/classify?models=linear,last_third,attention'
    expect 200 "[.models[].predictions] == $alone"
}

@test "the blocks that all share are counted" {
    ask 'linear/classify?models=last_third'
    expect 200 '.shared_blocks == 2'
    ask 'tiny/classify?models=linear'
    expect 200 '.shared_blocks == 3 and (.models | length) == 1'
    ask 'linear/classify?models=attention'
    expect 200 '.shared_blocks == 0'
    # another size of picture: prepared apart, nothing in common
    ask 'linear/classify?models=larger'
    expect 200 '.shared_blocks == 0 and (.models | length) == 2 and (.models | all(.predictions | length == 3))'
    local mixed
    mixed=$(field '.models[1].predictions | tostring')
    ask larger/classify
    [ "$(field '.predictions | tostring')" = "$mixed" ]
}

@test "a form for several models" {
    local alone
    ask last_third/classify
    alone=$(field .predictions)
    call POST '/v1/models/linear/classify?models=last_third' -F "f=@$IN/a.png" -F "f=@$IN/text.jpg" -F "f=@$IN/b.png"
    expect 200 ".shared_blocks == 2 and (.results | map(has(\"models\")) == [true,false,true]) and .results[1].error.status == 415 and .results[2].models[1].predictions == $alone"
    call POST '/v1/models/larger/classify?models=last_third' -F "f=@$IN/a.png" -F "f=@$IN/cut.png" -F "f=@$IN/b.png"
    expect 200 ".shared_blocks == 0 and .results[1].error.status == 400 and .results[2].models[1].predictions == $alone"
}

@test "many at once are computed in batches" {
    seq 40 | xargs -P 8 -I{} curl -s -o "$BATS_TEST_TMPDIR/{}" -w '%{http_code}\n' -H 'Content-Type: image/png' --data-binary "@$IN/a.png" "$URL/v1/models/linear/classify?models=last_third" > "$BATS_TEST_TMPDIR/codes"
    [ "$(sort -u "$BATS_TEST_TMPDIR/codes")" = 200 ]
    [ "$(cat "$BATS_TEST_TMPDIR"/[1-9]* | jq -c '[.models[].predictions[].index]' | sort -u | wc -l)" = 1 ]
}

@test "models that cannot be asked are named" {
    ask 'linear/classify?models=nobody'
    expect 422 '.errors[0] | .pointer == "/models" and (.detail | test("nobody"))'
    ask 'linear/classify?models=tiny'
    expect 422 '.errors[0] | .pointer == "/models" and (.detail | test("tiny has no head"))'
    ask 'linear/classify?models=attention,attention'
    expect 422 '.errors[0] | .pointer == "/models" and (.detail | test("attention is named twice"))'
    ask 'linear/classify?models='
    expect_field /models
    ask 'linear/classify?models=attention,,linear'
    expect_field /models
    ask "linear/classify?models=$(seq -s, 40)"
    expect_field /models
    new_model other 0
    ask 'other/classify?models=linear'
    expect 409 '.detail | test("head")'
    ask 'nobody/classify?models=linear'
    expect 404
    ask 'linear/classify?models=attention' text.jpg
    expect 415
    ask 'linear/classify?models=larger' cut.png
    expect 400
}

@test "on the disk a model is its delta" {
    local base
    call GET /v1/models/tiny
    base=$(field .bytes)
    call GET /v1/models/linear
    expect 200 ".bytes < $base / 10"
    call GET /v1/info
    expect 200 ".models | .open >= 4 and .bytes > $base"
}
