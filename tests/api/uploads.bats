# Uploads that go wrong on the way: too large, no room, a client that hangs up, two with one name.

load helpers

setup_file() {
    start_server --max-upload 200000
    inputs pictures archives checkpoints
}

teardown_file() {
    finish_file
}

@test "a body past the limit" {
    leaves_nothing upload /v1/models "$IN/timm.safetensors"
    expect 413
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors"
    expect 413
    leaves_nothing upload /v1/models "$IN/timm.safetensors" -H 'Transfer-Encoding: chunked' -H 'Content-Length:'
    expect 413
    leaves_nothing upload /v1/datasets "$IN/timm.safetensors"
    expect 413
    new_model small 3
    head -c 300000 /dev/zero > "$BATS_TEST_TMPDIR/zeros"
    call POST /v1/models/small/classify -H 'Content-Type: image/png' --data-binary "@$BATS_TEST_TMPDIR/zeros"
    expect 413
}

@test "a client that hangs up in mid-upload" {
    local port=${URL##*:}
    hang_up() {
        exec 7<> "/dev/tcp/127.0.0.1/$port"
        printf 'POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: %s\r\n\r\n' "$1" "$(stat -c %s "$2")" >&7
        head -c "$3" "$2" >&7
        sleep 0.3
        exec 7>&-
        sleep 0.3
    }
    leaves_nothing hang_up '/v1/datasets?name=hung' "$IN/good.tar" 9000
    leaves_nothing hang_up '/v1/datasets?name=hung' "$IN/good.zip" 0
    leaves_nothing hang_up '/v1/models?name=hung' "$IN/two.zip" 1000
    call GET /v1/datasets/hung
    expect 404
    upload '/v1/datasets?name=hung' "$IN/good.tar"
    expect 201
}

@test "a crowd of silent clients: others are served, and too many are told to come again" {
    coproc crowd { python3 "$HERE/silent_uploads.py" "$URL" 60 200; }
    local line
    read -r line <&"${crowd[0]}"
    [ "$line" = "60 connected" ]
    upload '/v1/datasets?name=beside' "$IN/good.tar"
    expect 201
    new_model beside 3
    call POST /v1/models/beside/classify -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200
    echo more >&"${crowd[1]}"
    read -r line <&"${crowd[0]}"
    [ "$line" = "200 connected" ]
    upload '/v1/datasets?name=late' "$IN/good.tar"
    expect 503 '.detail | test("waiting")'
    [ "$(header Retry-After)" -gt 0 ]
    call POST /v1/models/beside/classify -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200
    call GET /v1/datasets
    expect 200
    echo go >&"${crowd[1]}"
    wait "$crowd_PID"
    late() {
        upload '/v1/datasets?name=late' "$IN/good.tar"
        [ "$STATUS" = 201 ]
    }
    eventually 20 late
}

@test "two uploads with one name at once: one comes in" {
    local first second
    slow() {
        curl -s -o /dev/null -w '%{http_code}' --limit-rate 20k -H 'Expect:' -H 'Content-Type: application/octet-stream' -T "$IN/good.tar" -X POST "$URL/v1/datasets?name=twins"
    }
    slow > "$BATS_TEST_TMPDIR/1" &
    first=$!
    slow > "$BATS_TEST_TMPDIR/2" &
    second=$!
    wait $first $second
    [ "$(cat "$BATS_TEST_TMPDIR"/[12] | sed 's/20[0-9]/ok/g; s/409/taken/g' | tr -d '\n' | grep -cE '^(oktaken|takenok)$')" = 1 ]
    [ "$(find "$DATA/tmp" -mindepth 1 | wc -l)" = 0 ]
    call GET /v1/datasets/twins
    expect 200
    call GET /v1/datasets
    [ "$(ls "$DATA/datasets" | wc -l)" = "$(field '.items | length')" ]
}

@test "a disk that is full but for its reserve" {
    stop_server
    local free
    free=$(df -B1 --output=avail "$DATA" | tail -1)
    launch --disk-reserve $((free + 1000000000000))
    leaves_nothing upload /v1/datasets "$IN/good.zip"
    expect 507
    leaves_nothing upload /v1/models "$IN/two.zip"
    expect 507
    leaves_nothing post_json /v1/models '{"init":"random","architecture":{"image_size":16,"patch_size":8,"dim":8,"depth":1,"heads":1}}'
    expect 507
    call GET /v1/datasets
    expect 200
    stop_server
    launch
    upload /v1/datasets "$IN/good.zip"
    expect 201
}
