# The limits of the configuration: each is said by its name or number, each is a 4xx, and pictures
# of any shape are either taken or refused.

load helpers

setup_file() {
    start_server --max-uploads 1 --max-pixels 100000000 --max-image 50K --max-entries 40 --max-unpacked 2M --work-seconds 0.1
    inputs pictures archives extremes
    new_model eyes 3
}

teardown_file() {
    finish_file
}

classify() {
    call POST /v1/models/eyes/classify -H 'Content-Type: image/png' --data-binary "@$IN/$1"
}

refused() {
    leaves_nothing upload /v1/datasets "$IN/$2"
    expect "$1" "$3"
}

@test "a row and a column of pixels, as long as they may be" {
    classify row.png
    expect 200 '.predictions | length == 3'
    classify column.png
    expect 200
}

@test "longer ones are refused, whole or not" {
    classify wide.png
    expect 422 '.detail | test("65536 x 1 pixels: a side may have 65535")'
    classify endless.png
    expect 422 '.detail | test("99999999 x 1")'
    classify claimed.png
    expect 422 '.detail | test("99999999 x 1")'
    post_json /v2/models/eyes/infer '{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["'"$(base64 -w0 "$IN/claimed.png")"'"]}]}'
    expect 400 '.error | test("99999999 x 1")'
}

@test "extreme shapes in a data set, and as thumbnails" {
    upload '/v1/datasets?name=shapes' "$IN/shapes.zip"
    expect 201 '.images.train + .images.val == 18 and .rejected_count == 2'
    expect 201 '.rejected | all(.reason | test("65536 x 1 pixels"))'
    local i
    for i in $(seq 0 17); do
        for size in 16 1024; do
            call GET "/v1/datasets/shapes/images/$i?size=$size"
            expect 200
        done
        call GET "/v1/datasets/shapes/images/$i"
        expect 200
    done
    call DELETE /v1/datasets/shapes
    expect 200
}

@test "budgets of an archive" {
    refused 413 many.zip '.detail | test("more than 40 entries")'
    refused 413 zeros.tar.gz '.detail | test("unpacks to more than 2097152 bytes")'
    refused 422 twice.tar.gz.gz '.detail | test("compressed twice")'
    refused 422 fat.zip '.detail | test("larger than the limit for one file")'
}

@test "an image's bytes, and the work for a form" {
    head -c 60000 /dev/zero > "$BATS_TEST_TMPDIR/zeros"
    call POST /v1/models/eyes/classify -H 'Content-Type: image/png' --data-binary "@$BATS_TEST_TMPDIR/zeros"
    expect 413 '.detail | test("51200 bytes")'
    local form=() i
    for i in 1 2 3 4 5 6 7 8; do form+=(-F "f$i=@$IN/huge.png"); done
    call POST /v1/models/eyes/classify "${form[@]}"
    expect 413 '.detail | test("takes more than 0.1 seconds")'
    local huge
    huge=\"$(base64 -w0 "$IN/huge.png")\"
    post_json /v2/models/eyes/infer '{"inputs":[{"name":"image","datatype":"BYTES","shape":[4],"data":['"$huge,$huge,$huge,$huge"']}]}'
    expect 413 '.error | test("takes more than 0.1 seconds")'
    call POST /v1/models/eyes/classify -F "one=@$IN/a.png" -F "two=@$IN/b.png"
    expect 200 '.results | length == 2'
}

@test "info tells them" {
    call GET /v1/info
    expect 200 '.limits | .max_uploads == 1 and .max_side == 65535 and .max_image_bytes == 51200 and .max_entries == 40 and .max_unpacked_bytes == 2097152'
}
