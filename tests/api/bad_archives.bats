# Archives that cannot become a data set: the right status, a cause, nothing left on the disk, the
# service goes on.

load helpers

setup_file() {
    start_server --max-upload 2000000000
    inputs bad_archives archives
}

teardown_file() {
    finish_file
}

# refused STATUS FILE [jq condition]
refused() {
    leaves_nothing upload /v1/datasets "$IN/$2"
    expect "$1" "${3:-.detail | length > 10}"
}

@test "truncated" {
    refused 400 cut.zip
    refused 400 cut.tar.gz
}

@test "empty" {
    refused 400 zero.zip
    refused 422 empty.zip
    refused 422 empty.tar
}

@test "no archive at all" {
    refused 400 text.zip
    refused 400 picture.zip
}

@test "encrypted" {
    refused 422 encrypted.zip '.detail | test("encrypted|password")'
}

@test "names that lead out of the archive" {
    refused 422 dotdot.zip '.detail | test("leads out")'
    refused 422 dotdot_inside.zip '.detail | test("leads out")'
    refused 422 absolute.tar '.detail | test("/etc/gonio/00.png.*leads out")'
    [ -z "$(find "$BATS_FILE_TMPDIR" -name '*evil*' -o -name passwd)" ] && [ ! -e /etc/gonio ]
}

@test "links and devices" {
    refused 422 symlink.tar '.detail | test("symbolic link")'
    refused 422 hardlink.tar '.detail | test("hard link")'
    refused 422 device.tar '.detail | test("device")'
}

@test "one class, no class, a class with one picture, no picture at all" {
    refused 422 one_class.zip
    refused 422 no_class.zip
    refused 422 lonely.zip '.detail | test("blue")'
    refused 422 texts.zip
}

@test "ten gigabytes in less than one megabyte" {
    local before after
    before=$(date +%s)
    leaves_nothing upload /v1/datasets "$IN/bomb.tar.zst"
    [ "$STATUS" = 413 ] || [ "$STATUS" = 422 ]
    after=$(date +%s)
    [ $((after - before)) -le 30 ]
    # a sanitizer's own memory is not the service's
    [ -n "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ] || [ "$(awk '/VmHWM/ {print $2}' "/proc/$(server_pid)/status")" -lt 300000 ]
}

@test "forms that are none, or have no archive" {
    leaves_nothing call POST /v1/datasets -H 'Content-Type: multipart/form-data' --data-binary "@$IN/good.zip"
    expect 415
    leaves_nothing call POST /v1/datasets -H 'Content-Type: multipart/form-data; boundary=xyz' --data-binary "@$IN/good.zip"
    expect 400
    leaves_nothing call POST /v1/datasets -F "picture=@$IN/good.zip"
    expect_field /archive
    leaves_nothing call POST /v1/datasets -F "archive=@$IN/cut.zip"
    expect 400
    printf -- '--xyz\r\nContent-Disposition: form-data; name="archive"; filename="a.zip"\r\n\r\n' > "$BATS_TEST_TMPDIR/form"
    head -c 3000 "$IN/good.zip" >> "$BATS_TEST_TMPDIR/form"
    leaves_nothing call POST /v1/datasets -H 'Content-Type: multipart/form-data; boundary=xyz' --data-binary "@$BATS_TEST_TMPDIR/form"
    expect 400
}

@test "after all that a good one still comes in" {
    upload '/v1/datasets?name=good' "$IN/good.zip"
    expect 201
}
