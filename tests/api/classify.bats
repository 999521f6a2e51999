# Classification: one picture, forms, bad pictures, batching, models that share a base.

load helpers

setup_file() {
    start_server --batch-max 8 --batch-wait-ms 5
    inputs pictures checkpoints
    new_model plain 4
    new_model headless 0
    call POST '/v1/models?name=named' -F "checkpoint=@$IN/timm.safetensors" -F "labels=@$IN/labels.json"
    expect 201
}

teardown_file() {
    finish_file
}

@test "one picture of each kind" {
    for kind in jpeg:a.jpg png:a.png webp:a.webp; do
        call POST /v1/models/named/classify -H "Content-Type: image/${kind%%:*}" --data-binary "@$IN/${kind#*:}"
        expect 200 '(.predictions | length) == 3 and ([.predictions[].label] | sort == ["ash","birch","cedar"])'
        expect 200 '[.predictions[].probability] | . == (sort | reverse) and (add - 1 | fabs) < 1e-5'
        expect 200 '.timing | .decode_seconds > 0 and .queue_seconds >= 0 and .compute_seconds > 0'
    done
    # the content decides, not what the client says
    call POST /v1/models/named/classify -H 'Content-Type: image/jpeg' --data-binary "@$IN/a.png"
    expect 200
    call POST /v1/models/named/classify -H 'Content-Type:' --data-binary "@$IN/a.png"
    expect 200
}

@test "top, and labels that are indices" {
    call POST '/v1/models/plain/classify?top=2' -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200 '(.predictions | length) == 2 and (.predictions | all(.label == (.index | tostring)))'
    call POST '/v1/models/plain/classify?top=1000' -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200 '(.predictions | length) == 4'
    call POST '/v1/models/plain/classify?top=0' -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect_field /top
    call POST '/v1/models/plain/classify?top=many&colour=1' -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 422 '[.errors[].pointer] | sort == ["/colour","/top"]'
}

@test "pictures that are none" {
    call POST /v1/models/plain/classify -H 'Content-Type: image/jpeg' --data-binary "@$IN/text.jpg"
    expect 415
    call POST /v1/models/plain/classify -H 'Content-Type: text/plain' --data-binary "@$IN/a.png"
    expect 415
    call POST /v1/models/plain/classify -H 'Content-Type: image/jpeg' --data-binary "@$IN/zero.jpg"
    expect 415
    call POST /v1/models/plain/classify -H 'Content-Type: image/jpeg' --data-binary "@$IN/cut.jpg"
    expect 400
    call POST /v1/models/plain/classify -H 'Content-Type: image/png' --data-binary "@$IN/cut.png"
    expect 400
    call POST /v1/models/plain/classify -H 'Content-Type: image/png' --data-binary "@$IN/huge.png"
    expect 413
}

@test "a form, in its order, with what went wrong in its place" {
    call POST '/v1/models/named/classify?top=1' -F "f=@$IN/a.png" -F "f=@$IN/text.jpg" -F "f=@$IN/cut.jpg" -F "f=@$IN/b.png" -F "g=@$IN/a.jpg;filename=<b>.jpg"
    expect 200 '[.results[].filename] == ["a.png","text.jpg","cut.jpg","b.png","<b>.jpg"]'
    expect 200 '.results | map(has("error")) == [false,true,true,false,false] and ([.[] | select(.predictions) | .predictions | length] == [1,1,1])'
    expect 200 '.results[1].error.status == 415 and .results[2].error.status == 400'
    call POST /v1/models/named/classify -F 'f=just a text'
    expect 422
    call POST /v1/models/named/classify -H 'Content-Type: multipart/form-data; boundary=x' --data-binary $'--x--\r\n'
    expect 422
    call POST /v1/models/named/classify -H 'Content-Type: multipart/form-data; boundary=x' --data-binary 'nothing'
    expect 400
}

@test "a form of a hundred pictures gives what each gives alone" {
    call POST '/v1/models/named/classify?top=3' -H 'Content-Type: image/png' --data-binary "@$IN/b.png"
    expect 200
    local alone
    alone=$(field '[.predictions[] | .probability * 10000 | round] | tostring')
    local files=()
    for i in $(seq 100); do files+=(-F "f=@$IN/b.png;filename=$i.png"); done
    call POST '/v1/models/named/classify?top=3' "${files[@]}"
    expect 200 "(.results | length) == 100 and (.results | all([.predictions[] | .probability * 10000 | round] | tostring == \"$alone\"))"
}

@test "many requests at once are computed in batches" {
    seq 60 | xargs -P 12 -I{} curl -s -o "$BATS_TEST_TMPDIR/{}" -w '%{http_code}\n' -H 'Content-Type: image/png' --data-binary "@$IN/a.png" "$URL/v1/models/plain/classify" > "$BATS_TEST_TMPDIR/codes"
    [ "$(sort -u "$BATS_TEST_TMPDIR/codes")" = 200 ]
    [ "$(cat "$BATS_TEST_TMPDIR"/[1-9]* | jq -c '[.predictions[] | .index]' | sort -u | wc -l)" = 1 ]
    call GET /metrics
    local images batches
    images=$(awk '/^gonio_classify_images_total/ {n += $2} END {print n}' "$BODY")
    batches=$(awk '/^gonio_classify_batch_size_count/ {print $2}' "$BODY")
    [ "$images" -gt "$batches" ]
    grep -q '^gonio_queue_depth 0$' "$BODY"
}

@test "no head, no model" {
    call POST /v1/models/headless/classify -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 409 '.detail | test("head")'
    call POST /v1/models/nobody/classify -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 404
}

@test "a small memory for models: old ones are closed, and open again" {
    stop_server
    launch --model-memory 1
    for round in 1 2; do
        for model in plain named; do
            call POST "/v1/models/$model/classify" -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
            expect 200
        done
    done
    call GET /v1/info
    expect 200 '.models == {"open":0,"bytes":0}'
}
