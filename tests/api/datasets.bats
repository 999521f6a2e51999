# Data sets: every kind of archive, the layouts, the pictures, deletion.

load helpers

setup_file() {
    start_server
    inputs pictures archives
}

teardown_file() {
    finish_file
}

@test "every kind of archive gives the same data set" {
    local hash=
    for kind in zip tar tar.gz tar.xz tar.zst; do
        upload "/v1/datasets?name=good-${kind//./-}" "$IN/good.$kind"
        expect 201 '.status == "ready" and .images.train + .images.val == 24 and .images.test == 0 and .rejected_count == 0'
        expect 201 '[.classes[].name] == ["blue","green","red"] and (.classes | all(.train + .val == 8 and .val == 2))'
        [ "$(header Location)" = "/v1/datasets/$(field .id)" ]
        [ -z "$hash" ] || [ "$hash" = "$(field .sha256)" ]
        hash=$(field .sha256)
    done
    call GET /v1/datasets/good-tar-gz
    expect 200 ".sha256 == \"$hash\" and .mean_width == 40 and .mean_height == 32"
}

@test "a form, and a share and a seed for val" {
    call POST '/v1/datasets?name=form&val_fraction=0.5&seed=3' -F "archive=@$IN/good.zip"
    expect 201 '.images == {"train":12,"val":12,"test":0}'
    call POST '/v1/datasets?name=form-4&val_fraction=0.5&seed=4' -F "archive=@$IN/good.zip;type=application/zip"
    expect 201
    [ "$(field .sha256)" != "$(call GET /v1/datasets/form; field .sha256)" ]
}

@test "train, valid and test folders under others" {
    upload '/v1/datasets?name=splits' "$IN/splits.zip"
    expect 201 '.images == {"train":8,"val":4,"test":6} and .rejected_count == 0 and [.classes[].name] == ["x","y"]'
    call GET '/v1/datasets/splits/images?split=test&class=y'
    expect 200 '.items | length == 3 and all(.split == "test" and .class == "y" and (.path | startswith("test/y/")))'
}

@test "what cannot be used is rejected or skipped, and counted" {
    upload '/v1/datasets?name=mixed' "$IN/mixed.zip"
    expect 201 '.rejected_count == (.rejected | length) and .images.train + .images.val == 26'
    expect 201 '[.rejected[].path] | contains(["red/text.jpg","red/cut.jpg","red/zero.jpg","red/huge.png","blue/same.png","green/same.png"])'
    expect 201 '.rejected_count == 6 and .skipped_count == 5'
}

@test "classes of any name come back as they are" {
    upload '/v1/datasets?name=strange' "$IN/strange.zip"
    expect 201 '[.classes[].name] | contains(["a b","<script>alert(1)","o'"'"'clock \"now\"","Äpfel 🍎"]) and any(length == 300)'
    call GET '/v1/datasets/strange/images?class=%C3%84pfel%20%F0%9F%8D%8E'
    expect 200 '.items | length == 3 and all(.class == "Äpfel 🍎")'
}

@test "pictures in pages, as they came and as thumbnails" {
    upload '/v1/datasets?name=pages' "$IN/good.zip"
    expect 201
    call GET '/v1/datasets/pages/images?limit=20'
    expect 200 '.items | length == 20'
    call GET "/v1/datasets/pages/images?limit=20&after=$(field .next)"
    expect 200 '(.items | length) == 4 and .next == null'
    call GET /v1/datasets/pages/images
    expect 200 '[.items[].index] == [range(24)] and (.items | all(.width == 40 and .height == 32))'
    local bytes
    bytes=$(field '.items[5].bytes')
    call GET /v1/datasets/pages/images/5
    expect 200
    [ "$TYPE" = image/png ]
    [ "$(stat -c %s "$BODY")" = "$bytes" ]
    call GET /v1/datasets/pages/images/5 -H "If-None-Match: $(header ETag)"
    expect 304
    call GET '/v1/datasets/pages/images/5?size=16'
    expect 200
    [ "$TYPE" = image/jpeg ]
    [ "$(head -c 2 "$BODY" | od -An -tx1 | tr -d ' ')" = ffd8 ]
}

@test "pictures that are not there, parameters that do not fit" {
    upload '/v1/datasets?name=missing' "$IN/two.zip"
    expect 201
    for index in 8 99999999999999999999 -1 1x ''; do
        call GET "/v1/datasets/missing/images/$index"
        expect 404
    done
    call GET '/v1/datasets/missing/images/0?size=5'
    expect_field /size
    call GET '/v1/datasets/missing/images?class=nobody'
    expect_field /class
    call GET '/v1/datasets/missing/images?split=all&after=x'
    expect 422 '[.errors[].pointer] | sort == ["/after","/split"]'
    call GET /v1/datasets/nobody/images
    expect 404
    call GET /v1/datasets/nobody
    expect 404
}

@test "a name is taken once, and free again after deletion" {
    upload '/v1/datasets?name=taken' "$IN/two.zip"
    expect 201
    local id
    id=$(field .id)
    leaves_nothing upload '/v1/datasets?name=taken' "$IN/good.zip"
    expect 409
    call DELETE "/v1/datasets/$id"
    expect 200 '.freed_bytes > 1000'
    [ ! -e "$DATA/datasets/$id" ]
    call GET /v1/datasets/taken
    expect 404
    call DELETE /v1/datasets/taken
    expect 404
    upload '/v1/datasets?name=taken' "$IN/good.zip"
    expect 201
}

@test "an upload that is repeated with its key makes one data set" {
    upload '/v1/datasets?name=once' "$IN/two.zip" -H 'Idempotency-Key: upload-1'
    expect 201
    local id
    id=$(field .id)
    leaves_nothing upload '/v1/datasets?name=once' "$IN/two.zip" -H 'Idempotency-Key: upload-1'
    expect 201 ".id == \"$id\""
    leaves_nothing upload '/v1/datasets?name=once' "$IN/good.zip" -H 'Idempotency-Key: upload-1'
    expect 422
    leaves_nothing upload '/v1/datasets?name=twice' "$IN/two.zip" -H 'Idempotency-Key: upload-1'
    expect 422
}

@test "names and numbers that do not fit are named" {
    for name in Upper -dash '' a/b dst_x "$(printf 'a%.0s' {1..65})"; do
        leaves_nothing upload "/v1/datasets?name=$name" "$IN/two.zip"
        expect_field /name
    done
    leaves_nothing upload '/v1/datasets?val_fraction=1&seed=-1' "$IN/two.zip"
    expect 422 '[.errors[].pointer] | sort == ["/seed","/val_fraction"]'
    leaves_nothing upload '/v1/datasets?val_fraction=nan' "$IN/two.zip"
    expect_field /val_fraction
    leaves_nothing upload '/v1/datasets?val_fraction=1e999' "$IN/two.zip"
    expect_field /val_fraction
    leaves_nothing upload '/v1/datasets?colour=red' "$IN/two.zip"
    expect_field /colour
}
