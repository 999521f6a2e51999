# Models: uploads in every form, untrained ones, names, layers, downloads, deletion.

load helpers

setup_file() {
    start_server
    inputs checkpoints
}

teardown_file() {
    finish_file
}

@test "a checkpoint as the body" {
    upload '/v1/models?name=timm' "$IN/timm.safetensors"
    expect 201 '.kind == "base" and .format == "timm" and .base == null and .run == null and .labels == null and .tuned_parameters == 0'
    expect 201 '.architecture | .dim == 64 and .depth == 2 and .heads == 1 and .mlp_dim == 256 and .patch_size == 8 and .image_size == 32 and .classes == 3 and .pool == "cls"'
    expect 201 '.import.mapped == 32 and .import.ignored == [] and .import.resized == []'
    [ "$(field .sha256)" = "$(sha256sum "$IN/timm.safetensors" | cut -d' ' -f1)" ]
    [ "$(header Location)" = "/v1/models/$(field .id)" ]
    [ "$(ls "$DATA/models/$(field .id)")" = model.safetensors ]
    call GET /v1/models/timm
    expect 200 '.name == "timm" and .bytes > 400000'
}

@test "the query says what tensors cannot tell" {
    upload '/v1/models?heads=4&mean=0.1,0.2,0.3&std=0.4,0.5,0.6&crop_pct=0.875&activation=quick_gelu&norm_eps=1e-5&pos_resample=torchvision' "$IN/timm.safetensors"
    expect 201 '.architecture.heads == 4 and .architecture.activation == "quick_gelu" and .architecture.norm_eps == 1e-5'
    expect 201 '.preprocessing | .mean == [0.1,0.2,0.3] and .std == [0.4,0.5,0.6] and .crop_pct == 0.875 and .pos_resample == "torchvision"'
}

@test "a form with config, preprocessor and labels" {
    call POST '/v1/models?name=form' -F "checkpoint=@$IN/timm.safetensors" -F "preprocessor=@$IN/preprocessor.json" -F "labels=@$IN/labels.json"
    expect 201 '.labels == ["ash","birch","cedar"] and .preprocessing.mean == [0.4,0.5,0.6]'
    call POST '/v1/models?name=form-config' -F "config=@$IN/config.json" -F "checkpoint=@$IN/timm.safetensors"
    expect 201 '.architecture.heads == 4 and .labels == ["ash","birch","cedar"]'
}

@test "tensors that nobody knows are refused unless they are meant" {
    leaves_nothing upload /v1/models "$IN/extra.safetensors"
    expect 422 '.detail | test("extra.weight")'
    upload '/v1/models?allow_unused=true' "$IN/extra.safetensors"
    expect 201 '.import.ignored == ["extra.weight"]'
}

@test "an untrained model, the same from the same seed" {
    post_json /v1/models '{"name":"fresh","init":"random","seed":5,"architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":3,"heads":2,"classes":2,"pool":"mean"},"labels":["no","yes"]}'
    expect 201 '.format == "gonio" and .labels == ["no","yes"] and .import == null and .architecture.mlp_dim == 128 and .architecture.pool == "mean"'
    local hash
    hash=$(field .sha256)
    post_json /v1/models '{"init":"random","seed":5,"architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":3,"heads":2,"mlp_dim":null,"classes":2,"pool":"mean"},"labels":["no","yes"]}'
    expect 201 ".sha256 == \"$hash\" and .name == null"
    post_json /v1/models '{"init":"random","seed":6,"architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":3,"heads":2,"classes":2,"pool":"mean"},"labels":["no","yes"]}'
    expect 201 ".sha256 != \"$hash\""
}

@test "an untrained model that cannot be" {
    leaves_nothing post_json /v1/models '{"init":"zeros","seed":-1,"architecture":{"image_size":32,"patch_size":8,"dim":"wide","depth":0,"heads":2,"colour":1},"size":3}'
    expect 422 '[.errors[].pointer] | sort == ["/architecture/colour","/architecture/depth","/architecture/dim","/init","/seed","/size"]'
    leaves_nothing post_json /v1/models '{"init":"random","architecture":{"image_size":33,"patch_size":8,"dim":32,"depth":1,"heads":2}}'
    expect_field /architecture/image_size
    leaves_nothing post_json /v1/models '{"init":"random","architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":1,"heads":3}}'
    expect_field /architecture/heads
    leaves_nothing post_json /v1/models '{"init":"random","architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":1,"heads":2,"classes":3},"labels":["a"]}'
    expect_field /labels
    leaves_nothing post_json /v1/models '{"init":"random","architecture":{"image_size":1024,"patch_size":16,"dim":8192,"depth":128,"heads":128,"mlp_dim":32768}}'
    expect_field /architecture
    leaves_nothing post_json /v1/models '{"init":"random","architecture":{"image_size":224,"patch_size":16,"dim":2048,"depth":28,"heads":32}}'
    expect 422 '.errors[0] | .pointer == "/architecture" and (.detail | test("untrained"))'
    leaves_nothing post_json /v1/models '{"init":"random"}'
    expect_field /architecture
}

@test "JSON that would take much more memory than its text" {
    python3 - "$BATS_TEST_TMPDIR" <<'PY'
import sys
open(sys.argv[1] + '/objects', 'w').write('{"labels":[' + '{},' * 400000 + '1]}')
open(sys.argv[1] + '/numbers', 'w').write('{"labels":[' + '2e308,' * 100000 + '1]}')
PY
    leaves_nothing post_json /v1/models "@$BATS_TEST_TMPDIR/objects"
    expect 413 '.detail | test("more than 300000 values")'
    leaves_nothing post_json /v1/models "@$BATS_TEST_TMPDIR/numbers"
    expect 422
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors" -F "config=@$BATS_TEST_TMPDIR/objects"
    expect 413 '.detail | test("config.json has 400002 JSON objects and lists")'
}

@test "a part whose name is not UTF-8" {
    printf -- '--x\r\nContent-Disposition: form-data; name="\377"\r\n\r\n1\r\n--x--\r\n' > "$BATS_TEST_TMPDIR/form"
    leaves_nothing call POST /v1/models -H 'Content-Type: multipart/form-data; boundary=x' --data-binary "@$BATS_TEST_TMPDIR/form"
    expect 422 '.detail | test("not UTF-8")'
}

@test "a page of large models ends early" {
    python3 - > "$BATS_TEST_TMPDIR/body" <<'PY'
import json
print(json.dumps({'init': 'random', 'labels': ['%09d' % n for n in range(100000)],
                  'architecture': dict(image_size=1, patch_size=1, dim=1, depth=1, heads=1, classes=100000)}))
PY
    for _ in $(seq 9); do
        curl -sf -o /dev/null -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/body" "$URL/v1/models"
    done
    call GET '/v1/models?limit=9'
    expect 200 '(.items | length) == 8 and .next == .items[7].id'
    call GET "/v1/models?limit=1&after=$(field .next)"
    expect 200 '(.items | length) == 1 and (.items[0].labels | length) == 100000'
}

@test "layers and tensors" {
    new_model layers 5
    call GET /v1/models/layers/layers
    expect 200 '[.items[].name] == ["embedding","blocks.0.attn","blocks.0.mlp","blocks.1.attn","blocks.1.mlp","norm","head"]'
    expect 200 '(.items[1] | .group == "attention" and .block == 0 and ([.tensors[].name] | contains(["blocks.0.norm1.weight","blocks.0.attn.qkv.weight","blocks.0.attn.proj.bias"])))'
    expect 200 '.items | all(.parameters == ([.tensors[].parameters] | add))'
    local embedding='32 + 17*32 + 32*3*8*8 + 32' attention='2*32 + 3*32*32 + 3*32 + 32*32 + 32' ffn='2*32 + 2*32*64 + 64 + 32'
    expect 200 "[.items[].parameters] == [$embedding, $attention, $ffn, $attention, $ffn, 2*32, 5*33]"
    call GET /v1/models/nobody/layers
    expect 404
}

@test "a checkpoint comes back as it went" {
    upload '/v1/models?name=round' "$IN/timm.safetensors"
    expect 201
    call GET /v1/models/round/checkpoint
    expect 200
    [[ $(header Content-Disposition) == *round* ]]
    cp "$BODY" "$BATS_TEST_TMPDIR/back.safetensors"
    python3 - "$IN/timm.safetensors" "$BATS_TEST_TMPDIR/back.safetensors" <<'PY'
import json, struct, sys

def tensors(path):
    data = open(path, 'rb').read()
    size = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop('__metadata__', None)
    return {n: (t['dtype'], t['shape'], data[8 + size + t['data_offsets'][0]:8 + size + t['data_offsets'][1]]) for n, t in header.items()}

assert tensors(sys.argv[1]) == tensors(sys.argv[2])
PY
    local size
    size=$(stat -c %s "$BODY")
    call GET /v1/models/round/checkpoint -H "If-None-Match: $(header ETag)"
    expect 304
    call GET /v1/models/round/checkpoint -H 'Range: bytes=8-99'
    expect 206
    cmp "$BODY" <(tail -c +9 "$BATS_TEST_TMPDIR/back.safetensors" | head -c 92)
    [ "$(header Content-Range)" = "bytes 8-99/$size" ]
    call GET /v1/models/round/checkpoint -H "Range: bytes=$size-"
    expect 416
    call GET '/v1/models/round/checkpoint?dtype=bf16'
    expect 200
    [ "$(stat -c %s "$BODY")" -lt $((size * 6 / 10)) ]
    cp "$BODY" "$BATS_TEST_TMPDIR/half.safetensors"
    upload /v1/models "$BATS_TEST_TMPDIR/half.safetensors"
    expect 201 '.import.mapped == 32'
}

@test "formats that are not there are named" {
    new_model formats
    call GET '/v1/models/formats/checkpoint?format=jax'
    expect 422 '.errors[0] | .pointer == "/format" and (.detail | test("timm"))'
    call GET '/v1/models/formats/checkpoint?format=huggingface'
    expect 422 '.errors[0] | .pointer == "/format" and (.detail | test("no head"))'
    call GET '/v1/models/formats/checkpoint?dtype=f64&content=half'
    expect 422 '[.errors[].pointer] | sort == ["/content","/dtype"]'
    call GET '/v1/models/formats/checkpoint?content=delta'
    expect_field /content
    call GET /v1/models/nobody/checkpoint
    expect 404
    call GET /v1/models/formats/angles
    expect 422 '.detail | test("base")'
    call GET /v1/models/nobody/angles
    expect 404
}

@test "names: taken, changed, taken away" {
    new_model first
    new_model second
    leaves_nothing upload '/v1/models?name=first' "$IN/timm.safetensors"
    expect 409
    leaves_nothing post_json /v1/models '{"name":"first","init":"random","architecture":{"image_size":16,"patch_size":8,"dim":8,"depth":1,"heads":1}}'
    expect 409
    call PATCH /v1/models/second -H 'Content-Type: application/json' -d '{"name":"first"}'
    expect 409
    call PATCH /v1/models/second -H 'Content-Type: application/json' -d '{"name":"renamed"}'
    expect 200 '.name == "renamed"'
    call GET /v1/models/second
    expect 404
    call PATCH /v1/models/renamed -H 'Content-Type: application/json' -d '{"name":null}'
    expect 200 '.name == null'
    call PATCH "/v1/models/$(field .id)" -H 'Content-Type: application/json' -d '{"name":"Bad Name","kind":"tuned"}'
    expect 422 '[.errors[].pointer] | sort == ["/kind","/name"]'
    call PATCH /v1/models/first -H 'Content-Type: application/json' -d '{}'
    expect_field /name
    call PATCH /v1/models/first -H 'Content-Type: application/json' -d '{"name":'
    expect 400
    call PATCH /v1/models/nobody -H 'Content-Type: application/json' -d '{"name":"x"}'
    expect 404
}

@test "deletion gives the disk back" {
    new_model gone
    local id
    id=$(field .id)
    call GET /v1/models/gone/layers
    expect 200
    call DELETE /v1/models/gone
    expect 200 '.freed_bytes > 1000'
    [ ! -e "$DATA/models/$id" ]
    ! ls -l "/proc/$(server_pid)/map_files" 2> /dev/null | grep -q "$id"
    call DELETE /v1/models/gone
    expect 404
    call GET "/v1/models/$id"
    expect 404
}
