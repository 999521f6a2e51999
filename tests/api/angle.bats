# The strategy angle: plans, layers chosen by a run's angles, and a run with a probe of its own.

load helpers

setup_file() {
    start_server
    inputs archives
    new_model tiny
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    post_json /v1/models '{"name":"deep","init":"random","architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":4,"heads":2,"mlp_dim":64}}'
    expect 201
    launch_run full-run '"full"' 2
    wait_run full-run succeeded
}

teardown_file() {
    finish_file
}

# launch_run NAME STRATEGY EPOCHS
launch_run() {
    post_json /v1/runs "{\"name\":\"$1\",\"model\":\"deep\",\"dataset\":\"three\",\"strategy\":$2,\"epochs\":$3,\"batch_size\":6,\"lr\":0.003}"
    expect 201
}

plan() {
    post_json /v1/plans "$1"
}

@test "the published number of parameters, to the digit" {
    post_json /v1/models '{"name":"b16","init":"random","architecture":{"image_size":224,"patch_size":16,"dim":768,"depth":12,"heads":12,"mlp_dim":3072}}'
    expect 201
    plan '{"model":"b16","classes":100,"strategy":{"kind":"angle","probe":{"epochs":2},"order":"largest","attention_layers":7,"ffn_layers":7}}'
    expect 200 '.tuned_parameters == 49692004 and (.layers_known | not) and .lr == 1e-4 and [.phases[].phase] == ["probe","tuning"] and .phases[0].tuned_parameters == 85875556'
    call DELETE /v1/models/b16
    expect 200
}

@test "a plan with a probe is that of the costliest choice" {
    plan '{"model":"deep","dataset":"three","strategy":{"kind":"angle","probe":{"epochs":3,"trial_epochs":1},"order":"auto","attention_layers":2,"ffn_layers":1},"epochs":5,"batch_size":6}'
    expect 200 '.tuned_layers == ["blocks.0.attn","blocks.0.mlp","blocks.1.attn","head"] and .lowest_tuned_block == 0'
    expect 200 '[.phases[] | [.phase, .epochs, .steps]] == [["probe",3,9],["trial_largest",1,3],["trial_smallest",1,3],["tuning",5,15]] and .steps == 15'
    expect 200 '.memory_bytes.total == ([.phases[].memory_bytes] | max) and .phases[0].memory_bytes > .phases[3].memory_bytes'
}

@test "the layers that a run's angles choose" {
    local largest smallest
    call GET '/v1/runs/full-run/selection?order=largest&attention_layers=2&ffn_layers=1'
    expect 200 '.order == "largest" and .phase == null and .epoch == 2 and [.layers[].group] - ["attention","ffn"] == [] and (.layers | length) == 3'
    largest=$(field '[.layers[].name] | tostring')
    call GET /v1/runs/full-run/angles
    expect 200 "[.epochs[0].layers[] | select((.group == \"attention\" and .rank <= 2) or (.group == \"ffn\" and .rank == 1)) | .name] == $largest"
    call GET '/v1/runs/full-run/selection?order=smallest&attention_layers=2&ffn_layers=1'
    expect 200
    smallest=$(field '[.layers[].name] | tostring')
    [ "$smallest" != "$largest" ]
    plan '{"model":"deep","dataset":"three","strategy":{"kind":"angle","from":"full-run","order":"smallest","attention_layers":2,"ffn_layers":1}}'
    expect 200 ".layers_known and [.phases[].phase] == [\"tuning\"] and .tuned_layers == $smallest + [\"head\"]"
    call GET '/v1/runs/full-run/selection?attention_layers=5&ffn_layers=1'
    expect_field /attention_layers
    call GET '/v1/runs/full-run/selection?attention_layers=1'
    expect_field /ffn_layers
    call GET '/v1/runs/full-run/selection?attention_layers=0&ffn_layers=0'
    expect_field /attention_layers
    call GET '/v1/runs/nobody/selection?attention_layers=1&ffn_layers=1'
    expect 404
}

@test "what cannot be chosen is refused with the reason" {
    local strategy
    launch_run some '"attention"' 1
    wait_run some succeeded
    strategy() { plan "{\"model\":\"${2:-deep}\",\"dataset\":\"three\",\"strategy\":{\"kind\":\"angle\",$1}}"; }
    strategy '"from":"some","attention_layers":1,"ffn_layers":1'
    expect_field /strategy/ffn_layers
    expect 422 '.detail | contains("frozen")'
    strategy '"from":"some","attention_layers":1,"ffn_layers":0'
    expect 200
    strategy '"from":"full-run","attention_layers":5,"ffn_layers":1'
    expect_field /strategy/attention_layers
    strategy '"probe":{},"attention_layers":1,"ffn_layers":5'
    expect_field /strategy/ffn_layers
    strategy '"probe":{},"attention_layers":0,"ffn_layers":0'
    expect_field /strategy/attention_layers
    strategy '"from":"full-run","attention_layers":1,"ffn_layers":1' tiny
    expect_field /strategy/from
    strategy '"from":"nobody","attention_layers":1,"ffn_layers":1'
    expect_field /strategy/from
    strategy '"from":"full-run","order":"auto","attention_layers":1,"ffn_layers":1'
    expect_field /strategy/order
    strategy '"from":"full-run","probe":{},"attention_layers":1,"ffn_layers":1'
    expect_field /strategy
    strategy '"from":"full-run","attention_layers":1,"ffn_layers":1,"layers":["blocks.0.attn"]'
    expect_field /strategy/layers
    strategy '"probe":{"epochs":0},"attention_layers":1,"ffn_layers":1'
    expect_field /strategy/probe/epochs
    plan '{"model":"deep","classes":3,"val_images":0,"strategy":{"kind":"angle","probe":{},"order":"auto","attention_layers":1,"ffn_layers":1}}'
    expect_field /strategy/order
}
