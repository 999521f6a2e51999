#!/usr/bin/env bash
# The whole job on synthetic pictures: demo.sh BUILD_FOLDER (make demo builds first, then runs this).
#
# Draws two domains, starts a service of its own, pre-trains a small ViT on the first domain, fine-tunes it partially
# on the second, all through the HTTP API, and prints what came out. On a terminal the service then stays for the
# dashboard until Ctrl-C; otherwise, or with DEMO_STAY=0, it is stopped.
set -euo pipefail

build=$(cd "${1:?usage: demo.sh BUILD_FOLDER}" && pwd)
folder=$build/demo
strategies=(full attention ffn linear)
declare -A lr=([full]=5e-4 [attention]=1e-3 [ffn]=1e-3 [linear]=3e-3)

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
        jq --unbuffered -r '"  epoch \(.epoch): loss \(.train_loss * 1000 | round / 1000), validation accuracy \(.val_accuracy * 1000 | round / 10) %"'
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

# tune NAME MODEL STRATEGY: a run on domain b.
tune() {
    say "fine-tuning on domain b: $1"
    run "$1" "$(jq -n --arg name "$1" --arg model "$2" --arg strategy "$3" --argjson lr "${lr[$3]}" '{name: $name,
        model: $model, dataset: "domain-b", strategy: $strategy, epochs: 12, batch_size: 32, lr: $lr, head: "random"}')"
}

fine_tune() {
    local strategy
    for strategy in "${strategies[@]}"; do
        tune "$strategy" "$model" "$strategy"
    done
    tune scratch untrained full
}

report() {
    local strategy
    say "domain b by strategy"
    printf '%-10s %17s %20s %9s %13s\n' strategy 'tuned parameters' 'validation accuracy' seconds 'peak memory'
    for strategy in "${strategies[@]}" scratch; do
        jq -r '[.name, .tuned_parameters, .result.val_accuracy * 100, .result.seconds,
            .result.peak_memory_bytes / 1e6] | @tsv' "$folder/$strategy.json"
    done | while IFS=$'\t' read -r name tuned accuracy seconds memory; do
        printf '%-10s %17d %18.1f %% %9.1f %10.0f MB\n' "$name" "$tuned" "$accuracy" "$seconds" "$memory"
    done
    echo "(scratch: full, without the pre-training)"

    say "how far each layer turned, in degrees"
    printf '%-14s' layer
    printf '%12s' "${strategies[@]}"
    echo
    for strategy in "${strategies[@]}"; do
        api GET "/v1/runs/$strategy/angles?epoch=last" >"$folder/angles-$strategy"
    done
    jq -rs '[.[].epochs[-1].layers] | transpose[] | [.[0].name, (.[].degrees * 1000 | round / 1000)] | @tsv' \
        "${strategies[@]/#/$folder/angles-}" | while IFS=$'\t' read -r name degrees; do
        printf '%-14s' "$name"
        # shellcheck disable=SC2086 # one number per strategy
        printf '%12.3f' $degrees
        echo
    done
}

classify() {
    local picture
    picture=$(find "$folder/b/val" -name 00007.jpg | sort | head -n 1)
    say "classifying ${picture#"$folder/"} with the model tuned by attention"
    api POST "/v1/models/$(jq -r .result.model "$folder/attention.json")/classify?top=3" \
        -H 'Content-Type: image/jpeg' --data-binary "@$picture" |
        jq -r '.predictions[] | "  \(.label): \(.probability * 1000 | round / 10) %"'
}

draw
serve
upload
pretrain
fine_tune
report
classify

say "dashboard: $base/"
if [ -t 1 ] && [ "${DEMO_STAY:-1}" != 0 ]; then
    echo "The service stays; Ctrl-C stops it."
    trap 'stop; exit 0' INT TERM
    wait "$service"
fi
