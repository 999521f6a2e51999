# Runs side by side.

load helpers

setup_file() {
    start_server
    inputs archives
    new_model tiny
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    for name in one two; do
        local strategy=attention
        [ $name = one ] || strategy=ffn
        post_json /v1/runs "{\"name\":\"$name\",\"model\":\"tiny\",\"dataset\":\"three\",\"strategy\":\"$strategy\",\"epochs\":2,\"batch_size\":6,\"lr\":0.002}"
        expect 201
        wait_run $name succeeded
    done
    post_json /v1/runs '{"name":"later","model":"tiny","dataset":"three","strategy":"ffn","epochs":5,"batch_size":6,"lr":0.002,"priority":3}'
    expect 201
    wait_run later succeeded
}

teardown_file() {
    finish_file
}

@test "configurations, what differs, curves, angles and results" {
    call GET '/v1/compare?runs=one,two'
    expect 200 '[.runs[].name] == ["one","two"] and .differing == ["strategy"]'
    expect 200 '.runs | all(.status == "succeeded" and ([.epochs[].epoch] == [1,2]) and (.angles | length) == 4 and .result.val_accuracy >= 0 and .configuration.epochs == 2)'
    expect 200 '.runs[0].configuration.strategy == "attention" and (.runs[0].configuration | has("name") | not) and .runs[1].tuned_layers == ["blocks.0.mlp","blocks.1.mlp","head"]'
    call GET '/v1/compare?runs=two,later,one'
    expect 200 '(.runs | length) == 3 and (.differing | sort) == ["epochs","priority","strategy","warmup_steps"]'
}

@test "what cannot be compared" {
    for query in '' '?runs=' '?runs=one' '?runs=one,,two' '?runs=one,nobody' '?runs=one,two,one' "?runs=one,$(printf 'x%.0s' {1..70})" "?runs=$(seq -s, 17)" '?runs=%2C'; do
        call GET "/v1/compare$query"
        expect_field /runs
    done
    call GET '/v1/compare?runs=one,two&colour=red'
    expect_field /colour
}
