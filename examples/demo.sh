#!/usr/bin/env bash
# A tour on synthetic pictures: demo.sh BUILD_FOLDER. make demo builds first, then runs this.
#
# Draws two domains, starts its own service, and pre-trains a small ViT on the first domain. Then it
# tunes parts of the ViT on the second domain: layers chosen by the angles of a probe, then a sweep
# over strategies, then a greedy soup of all tuned models, which it evaluates and classifies with.
# All of it uses the HTTP API. On a terminal the service then stays for the dashboard until Ctrl-C;
# otherwise, or with DEMO_STAY=0, it is stopped.
set -euo pipefail

build=$(cd "${1:?usage: demo.sh BUILD_FOLDER}" && pwd)
folder=$build/demo
strategies=(full attention ffn linear)
# The settings of every run on domain b. A model this small needs a higher rate than the defaults,
# which are for larger models.
settings='{"epochs":8,"batch_size":32,"lr":1e-3,"head":"random"}'

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

service=
stop() {
    if [ -n "$service" ] && kill -0 "$service" 2>/dev/null; then
        kill -TERM "$service"
        wait "$service" || true
    fi
    service=
}
trap stop EXIT

# api METHOD PATH [curl options]: the answer's body; a problem's text ends the demo.
api() {
    local method=$1 path=$2 answer
    shift 2
    if ! answer=$(curl -sS --fail-with-body -X "$method" "$@" "$base$path"); then
        die "$method $path: ${answer:-no answer}; the service's log is $folder/service.log"
    fi
    printf '%s\n' "$answer"
}

post_json() { api POST "$1" -H 'Content-Type: application/json' --data-binary "$2"; }

free_port() {
    local port
    for port in $(seq 8080 8180); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free port between 8080 and 8180"
}

draw() {
    say "drawing two domains of labelled pictures"
    rm -rf "$folder"
    mkdir -p "$folder"
    "$build/shapes" --domain a --size 48 --train 400 --val 40 "$folder/a"
    "$build/shapes" --domain b --size 48 --train 60 --val 60 "$folder/b"
    (cd "$folder/a" && zip -q -r ../a.zip train val)
    tar -C "$folder/b" -czf "$folder/b.tar.gz" train val
    ls -sh "$folder"/a.zip "$folder"/b.tar.gz
}

serve() {
    say "starting the service"
    base=http://127.0.0.1:$(free_port)
    "$build/gonio" serve --data "$folder/data" --listen "${base#http://}" >"$folder/service.log" 2>&1 &
    service=$!
    until curl -sf "$base/readyz" >/dev/null; do
        kill -0 "$service" 2>/dev/null || die "the service ended at once: $(tail -n 5 "$folder/service.log")"
        sleep 0.1
    done
    echo "$base, process $service, log $folder/service.log"
}

upload() {
    say "uploading the pictures and making an untrained ViT"
    api POST "/v1/datasets?name=domain-a" --data-binary "@$folder/a.zip" | jq -r '"\(.name): \(.classes | length) classes, \(.images.train) + \(.images.val) pictures"'
    api POST "/v1/datasets?name=domain-b" --data-binary "@$folder/b.tar.gz" | jq -r '"\(.name): \(.classes | length) classes, \(.images.train) + \(.images.val) pictures"'
    post_json /v1/models '{"name":"untrained","init":"random","seed":1,"architecture":{"image_size":48,"patch_size":8,
        "dim":96,"depth":6,"heads":3,"mlp_dim":384,"classes":10,"pool":"cls"}}' |
        jq -r '"\(.name): \(.parameters) parameters"'
}

# run NAME BODY: launches a run, prints its epochs as they come, and fails unless it succeeds.
run() {
    local name=$1 status
    post_json /v1/runs "$2" >"$folder/$name.json"
    curl -sSN "$base/v1/runs/$name/events" |
        sed -un '/^event: epoch/,/^data:/ s/^data: //p' |
        jq --unbuffered -r '"  \(if .phase then .phase + ", " else "" end)epoch \(.epoch): loss \(.train_loss * 1000 | round / 1000)\(if .val_accuracy then ", validation accuracy \(.val_accuracy * 1000 | round / 10) %" else "" end)"'
    api GET "/v1/runs/$name" >"$folder/$name.json"
    status=$(jq -r .status "$folder/$name.json")
    [ "$status" = succeeded ] || die "run $name $status: $(jq -r .error.detail "$folder/$name.json")"
}

pretrain() {
    say "pre-training on domain a"
    run pretrain '{"name":"pretrain","model":"untrained","dataset":"domain-a","strategy":"full","epochs":14,
        "batch_size":32,"lr":1e-3,"augment":"flip","head":"random"}'
    model=$(jq -r .result.model "$folder/pretrain.json")
}

# Layers chosen by their angles: a short full fine-tuning measures the angles. The run itself then
# starts again from the pre-trained weights.
guided() {
    say "domain b: a probe, and the 3 attention and 3 FFN layers that turned most in it"
    run guided "$(jq -n --arg model "$model" --argjson settings "$settings" '$settings + {name: "guided", model: $model, dataset: "domain-b",
        strategy: {kind: "angle", probe: {epochs: 3, lr: 1e-3}, order: "largest", attention_layers: 3, ffn_layers: 3}}')"
    jq -r '.selection.layers[] | "  \(.name): \(.degrees * 1000 | round / 1000) degrees"' "$folder/guided.json"
}

# The comparison in one request; the answer of a GET says how far it is.
sweep() {
    local status=queued finished shown=
    say "domain b: a sweep over ${strategies[*]}"
    post_json /v1/sweeps "$(jq -n --arg model "$model" --argjson settings "$settings" '{name: "sweep", model: $model, dataset: "domain-b", seeds: [0],
        strategies: $ARGS.positional, defaults: $settings}' --args "${strategies[@]}")" >"$folder/sweep.json"
    while [ "$status" = queued ] || [ "$status" = running ]; do
        sleep 1
        api GET /v1/sweeps/sweep >"$folder/sweep.json"
        status=$(jq -r .status "$folder/sweep.json")
        finished=$(jq '[.rows[] | select(.status == "succeeded")] | length' "$folder/sweep.json")
        [ "$finished" = "$shown" ] || echo "  $finished of ${#strategies[@]} runs done"
        shown=$finished
    done
    [ "$status" = succeeded ] || die "the sweep $status"
    run scratch "$(jq -n --argjson settings "$settings" '$settings + {name: "scratch", model: "untrained", dataset: "domain-b", strategy: "full"}')"
}

# wait_for PATH: asks for a job until it has ended; fails unless it succeeded.
wait_for() {
    local status=queued
    while [ "$status" = queued ] || [ "$status" = running ]; do
        sleep 0.3
        api GET "$1" >"$folder/job.json"
        status=$(jq -r .status "$folder/job.json")
    done
    [ "$status" = succeeded ] || die "$1 $status: $(jq -r .error.detail "$folder/job.json")"
}

soup() {
    local name
    say "a greedy soup of the tuned models"
    for name in guided $(jq -r '.rows[].run' "$folder/sweep.json"); do
        api GET "/v1/runs/$name" | jq -r .result.model
    done | jq -R . | jq -s '{name: "soup", method: "greedy", dataset: "domain-b", models: .}' >"$folder/request.json"
    post_json /v1/soups "@$folder/request.json" >/dev/null
    wait_for /v1/soups/soup
    cp "$folder/job.json" "$folder/soup.json"
    jq -r '.ingredients[] | "  \(.val_accuracy * 1000 | round / 10) %: \(if .kept then "kept" else "left out" end)"' "$folder/soup.json"
    jq -r '"  the soup: \(.result.val_accuracy * 1000 | round / 10) %"' "$folder/soup.json"
}

# table: from lines of name, tuned parameters, accuracy, seconds and megabytes, with tabs between.
table() {
    printf '%-12s %17s %20s %9s %13s\n' strategy 'tuned parameters' 'validation accuracy' seconds 'peak memory'
    while IFS=$'\t' read -r name tuned accuracy seconds memory; do
        printf '%-12s %17d %18.1f %% %9.1f %10.0f MB\n' "$name" "$tuned" "$accuracy" "$seconds" "$memory"
    done
}

report() {
    local strategy
    say "domain b by strategy"
    {
        jq -r '.rows[] | [.label, .tuned_parameters, .val_accuracy * 100, .seconds, .peak_memory_bytes / 1e6] | @tsv' "$folder/sweep.json"
        for strategy in guided scratch; do
            jq -r '[.name, .tuned_parameters, .result.val_accuracy * 100, .result.seconds, .result.peak_memory_bytes / 1e6] | @tsv' "$folder/$strategy.json"
        done
    } | table
    echo "(guided: layers chosen by the probe's angles, its time included; scratch: full, without the pre-training)"

    say "how far each layer turned, in degrees"
    printf '%-14s' layer
    printf '%12s' "${strategies[@]}"
    echo
    jq -r '.rows[].run' "$folder/sweep.json" | while read -r name; do
        api GET "/v1/runs/$name/angles?epoch=last"
    done | jq -rs '[.[].epochs[-1].layers] | transpose[] | [.[0].name, (.[].degrees * 1000 | round / 1000)] | @tsv' | while IFS=$'\t' read -r name degrees; do
        printf '%-14s' "$name"
        # shellcheck disable=SC2086 # one number per strategy
        printf '%12.3f' $degrees
        echo
    done
}

evaluate() {
    say "what the soup still takes for something else"
    post_json /v1/evaluations "$(jq '{model: .result.model, dataset: "domain-b", split: "val"}' "$folder/soup.json")" >"$folder/evaluation.json"
    wait_for "/v1/evaluations/$(jq -r .id "$folder/evaluation.json")"
    jq -r '.result as $r | [$r.per_class[].class] as $names
        | "  accuracy \($r.accuracy * 1000 | round / 10) %, calibration error \($r.ece * 1000 | round / 10) %",
          ([$r.confusion | to_entries[] | .key as $row | .value | to_entries[] | select(.key != $row and .value > 0) | {row: $row, column: .key, n: .value}]
           | sort_by(-.n)[:3][] | "  \($names[.row]) taken for \($names[.column]): \(.n)")' "$folder/job.json"
}

classify() {
    local picture
    picture=$(find "$folder/b/val" -name 00007.jpg | sort | head -n 1)
    say "classifying ${picture#"$folder/"} with the soup"
    api POST "/v1/models/$(jq -r .result.model "$folder/soup.json")/classify?top=3" \
        -H 'Content-Type: image/jpeg' --data-binary "@$picture" |
        jq -r '.predictions[] | "  \(.label): \(.probability * 1000 | round / 10) %"'
}

draw
serve
upload
pretrain
guided
sweep
soup
report
evaluate
classify

say "dashboard: $base/"
if [ -t 1 ] && [ "${DEMO_STAY:-1}" != 0 ]; then
    echo "The service stays; Ctrl-C stops it."
    trap 'stop; exit 0' INT TERM
    wait "$service"
fi
