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
    case $GONIO in *asan* | *tsan*) skip "86 million random weights take a sanitizer minutes" ;; esac
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

@test "a run by another run's angles tunes those layers and no others" {
    local layers
    call GET '/v1/runs/full-run/selection?order=smallest&attention_layers=1&ffn_layers=2'
    layers=$(field '[.layers[].name] | tostring')
    launch_run by-angles '{"kind":"angle","from":"full-run","order":"smallest","attention_layers":1,"ffn_layers":2}' 2
    expect 201 "[.selection.layers[].name] == $layers and .tuned_layers == $layers + [\"head\"] and .selection.trials == null and (.selection.from | startswith(\"run_\"))"
    wait_run by-angles succeeded
    expect 200 '.progress.phase == null and .strategy.from == .selection.from'
    call GET /v1/runs/by-angles/angles
    expect 200 "[.epochs[0].layers[] | select(.degrees > 0) | .name] == $layers"
    call GET /v1/runs/by-angles/metrics
    expect 200 '.phases == null'
}

@test "a run with a probe" {
    launch_run probing '{"kind":"angle","probe":{"epochs":2,"lr":0.002},"order":"largest","attention_layers":2,"ffn_layers":2}' 3
    expect 201 '.tuned_layers == [] and .selection == null and .tuned_parameters > 0 and .strategy.probe == {"epochs":2,"lr":0.002,"trial_epochs":null}'
    wait_run probing succeeded
    expect 200 '.progress.phase == "tuning" and .progress.epoch == 3 and .selection.order == "largest" and .selection.from == null and (.selection.layers | length) == 4'
    local layers
    layers=$(field '[.selection.layers[].name] | tostring')
    expect 200 ".tuned_layers == $layers + [\"head\"]"
    call GET '/v1/runs/probing/selection?attention_layers=2&ffn_layers=2'
    expect 200 ".phase == \"probe\" and .epoch == 2 and [.layers[].name] == $layers"
    call GET '/v1/runs/probing/angles?phase=probe&epoch=all'
    expect 200 '[.epochs[].epoch] == [1,2] and (.epochs[1].layers | all(.degrees > 0))'
    call GET /v1/runs/probing/angles
    expect 200 ".epochs[0].epoch == 3 and [.epochs[0].layers[] | select(.degrees > 0) | .name] == $layers"
    call GET '/v1/runs/probing/angles?phase=trial_largest'
    expect 200 '.epochs == []'
    call GET '/v1/runs/probing/angles?phase=second'
    expect_field /phase
    call GET /v1/runs/probing/metrics
    expect 200 '[.epochs[].epoch] == [1,2,3] and [.phases.probe.epochs[].epoch] == [1,2] and ([.steps[].step] | max) == 9 and ([.phases.probe.steps[].step] | max) == 6'
    call GET /v1/runs/probing/events
    expect 200
    grep '^data: ' "$BODY" | sed 's/^data: //' | jq -es '[.[] | select(.phase) | .phase] | unique == ["probe","tuning"]'
    # its angles choose for another run
    launch_run after '{"kind":"angle","from":"probing","order":"largest","attention_layers":2,"ffn_layers":2}' 1
    expect 201 "[.selection.layers[].name] == $layers"
}

@test "order auto tries both and takes the better" {
    launch_run both '{"kind":"angle","probe":{"epochs":1,"lr":0.002,"trial_epochs":2},"order":"auto","attention_layers":1,"ffn_layers":1}' 2
    wait_run both succeeded
    expect 200 '.selection.trials | map(.order) == ["largest","smallest"]'
    expect 200 '.selection as $s | ($s.trials | max_by(.val_accuracy, -.val_loss).order) == $s.order'
    call GET /v1/runs/both/metrics
    expect 200 '.phases | [.probe, .trial_largest, .trial_smallest] | map(.epochs | length) == [1,2,2]'
}

@test "the service is killed while a probe goes on: it ends as if it had not been" {
    local strategy='{"kind":"angle","probe":{"epochs":300,"lr":0.002},"order":"smallest","attention_layers":1,"ffn_layers":1}'
    local body="\"model\":\"deep\",\"dataset\":\"three\",\"strategy\":$strategy,\"epochs\":3,\"batch_size\":6,\"threads\":1,\"checkpoint_every_seconds\":0.1"
    post_json /v1/runs "{\"name\":\"calm\",$body}"
    expect 201
    wait_run calm succeeded 180
    local model sha
    model=$(field .result.model)
    call GET "/v1/models/$model"
    sha=$(field .sha256)
    post_json /v1/runs "{\"name\":\"killed\",$body}"
    expect 201
    probing() { call GET /v1/runs/killed && [ "$(field .progress.phase)" = probe ] && [ "$(field '.progress.step > 20')" = true ]; }
    eventually 20 probing
    stop_server KILL
    launch
    wait_run killed succeeded 180
    expect 200 '.attempts >= 2 and .selection.order == "smallest"'
    call GET "/v1/models/$(field .result.model)"
    expect 200 ".sha256 == \"$sha\""
}
