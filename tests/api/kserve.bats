# The Open Inference Protocol: health, metadata, inference from files and from values, and what is
# refused.

load helpers

setup_file() {
    start_server --batch-max 8
    inputs pictures checkpoints
    call POST '/v1/models?name=named&mean=0.4,0.5,0.6&std=0.2,0.3,0.4&crop_pct=1' -F "checkpoint=@$IN/timm.safetensors" -F "labels=@$IN/labels.json"
    expect 201
    new_model plain 4
    new_model headless
}

teardown_file() {
    finish_file
}

infer() {
    post_json "/v2/models/$1/infer" "$2"
}

# refused MODEL BODY STATUS PATTERN
refused() {
    infer "$1" "$2"
    expect "$3" ".error | test(\"$4\")"
}

file() {
    base64 -w0 "$IN/$1"
}

@test "the server and its health" {
    call GET /v2
    expect 200 '.name == "gonio" and .extensions == []'
    call GET /v2/health/live
    expect 200 .live
    call GET /v2/health/ready
    expect 200 .ready
}

@test "metadata" {
    call GET /v2/models/named
    expect 200 '.name == "named" and (.inputs | map([.name, .datatype, .shape])) == [["image","BYTES",[-1]],["pixels","FP32",[-1,3,32,32]]]'
    expect 200 '(.outputs | map([.name, .datatype, .shape])) == [["logits","FP32",[-1,3]],["probabilities","FP32",[-1,3]],["label","BYTES",[-1]]]'
    call GET /v2/models/named/ready
    expect 200 '.name == "named" and .ready'
    for path in /v2/models/nobody /v2/models/nobody/ready; do
        call GET $path
        expect 404 '.error | test("nobody")'
    done
    for path in /v2/models/headless /v2/models/headless/ready; do
        call GET $path
        expect 409 '.error | test("head")'
    done
}

@test "files give what classify gives" {
    infer named "{\"id\":\"my-1\",\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[3],\"data\":[\"$(file a.png)\",\"$(file a.jpg)\",\"$(file a.webp)\"]}]}"
    expect 200 '.model_name == "named" and .id == "my-1" and (.outputs | map([.name, .shape])) == [["logits",[3,3]],["probabilities",[3,3]],["label",[3]]]'
    expect 200 '(.outputs[0].data | length) == 9 and (.outputs[1].data | [.[0:3], .[3:6], .[6:9]] | all(add - 1 | fabs < 1e-5))'
    local label probability
    label=$(field '.outputs[2].data[0]') probability=$(field '.outputs[1].data[0:3] | max')
    call POST '/v1/models/named/classify?top=1' -H 'Content-Type: image/png' --data-binary "@$IN/a.png"
    expect 200 ".predictions[0] | .label == \"$label\" and (.probability - $probability | fabs) < 1e-6"
}

@test "only the outputs that are asked for, in their order" {
    infer plain "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"$(file a.png)\"],\"parameters\":{\"content_type\":\"base64\"}}],\"outputs\":[{\"name\":\"label\"},{\"name\":\"logits\",\"parameters\":{\"binary_data\":false}}]}"
    expect 200 '(.outputs | map([.name, .datatype])) == [["label","BYTES"],["logits","FP32"]] and (has("id") | not) and (.outputs[0].data[0] | tonumber) < 4'
}

@test "values, flat and nested, give what the file gives" {
    # a picture of the model's size, so that preparing it is nothing but the normalisation
    python3 - "$BATS_TEST_TMPDIR" <<'PY'
import base64, json, struct, sys, zlib

size, mean, std = 32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
rgb = [[[(7 * x + 11 * y + 50 * c) % 256 for c in range(3)] for x in range(size)] for y in range(size)]

def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

rows = b''.join(b'\0' + bytes(v for pixel in row for v in pixel) for row in rgb)
png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', size, size, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
nested = [[[(rgb[y][x][c] / 255 - mean[c]) / std[c] for x in range(size)] for y in range(size)] for c in range(3)]
flat = [v for plane in nested for row in plane for v in row]

def write(path, **tensor):
    with open(f'{sys.argv[1]}/{path}', 'w') as out:
        json.dump({'inputs': [tensor]}, out)

write('file', name='image', datatype='BYTES', shape=[1], data=[base64.b64encode(png).decode()])
write('flat', name='pixels', datatype='FP32', shape=[2, 3, size, size], data=flat + flat)
write('nested', name='pixels', datatype='FP32', shape=[2, 3, size, size], data=[nested, nested])
write('few', name='pixels', datatype='FP32', shape=[2, 3, size, size], data=flat)
write('many', name='pixels', datatype='FP32', shape=[1, 3, size, size], data=flat + [1])
write('text', name='pixels', datatype='FP32', shape=[1, 3, size, size], data=flat[:-1] + ['1'])
write('huge', name='pixels', datatype='FP32', shape=[1, 3, size, size], data=flat[:-1] + [1e39])
open(f'{sys.argv[1]}/comma', 'w').write(json.dumps({'inputs': [dict(name='pixels', datatype='FP32', shape=[1, 3, size, size], data=flat)]})[:-4] + ',]}]}')
open(f'{sys.argv[1]}/full', 'w').write('{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,3,32,32],"data":[' + '7,' * 10000000 + '7]}]}')
open(f'{sys.argv[1]}/beside', 'w').write('{"parameters":{"a":[' + '7,' * 300000 + '7]},"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,3,32,32],"data":[7]}]}')
write('deep', name='pixels', datatype='FP32', shape=[1, 3, size, size], data=[[[[[1.0]]]]])
PY
    local wanted
    infer named "@$BATS_TEST_TMPDIR/file"
    expect 200
    wanted=$(field '.outputs[0].data | map(. * 10000 | round)')
    for form in flat nested; do
        infer named "@$BATS_TEST_TMPDIR/$form"
        expect 200 "(.outputs[0].shape == [2,3]) and (.outputs[0].data | map(. * 10000 | round)) == ($wanted + $wanted)"
    done
    refused named "@$BATS_TEST_TMPDIR/few" 400 'too few values.*6144.*3072'
    refused named "@$BATS_TEST_TMPDIR/many" 400 'too many values'
    refused named "@$BATS_TEST_TMPDIR/text" 400 'no finite FP32'
    refused named "@$BATS_TEST_TMPDIR/huge" 400 'no finite FP32'
    refused named "@$BATS_TEST_TMPDIR/deep" 400 'no finite FP32'
    refused named "@$BATS_TEST_TMPDIR/comma" 400 'not a list of JSON'
    refused named "@$BATS_TEST_TMPDIR/full" 400 'too many values'
    refused named "@$BATS_TEST_TMPDIR/beside" 413 'more than 300000 values'
}

@test "a hundred images go through the batches, in their order" {
    local a b
    a=$(file a.png) b=$(file b.png)
    python3 - "$a" "$b" > "$BATS_TEST_TMPDIR/body" <<'PY'
import json, sys
print(json.dumps({'inputs': [{'name': 'image', 'datatype': 'BYTES', 'shape': [100], 'data': [sys.argv[1 + (n % 7 == 0)] for n in range(100)]}]}))
PY
    infer plain "@$BATS_TEST_TMPDIR/body"
    expect 200 '.outputs[0].data | [range(100) as $n | .[4 * $n:4 * $n + 4] | map(. * 1000 | round)] | [range(100) as $n | .[$n] == (if $n % 7 == 0 then .[0] else .[1] end)] | all'
    expect 200 '.outputs[0].data | .[1] != .[5]'
    call GET /metrics
    [ "$(awk '/^gonio_classify_batch_size_bucket\{le="1"\}/ {print $2}' "$BODY")" -lt "$(awk '/^gonio_classify_batch_size_count/ {print $2}' "$BODY")" ]
}

@test "requests that say something wrong are told what" {
    local png tensor
    png=$(file a.png)
    tensor="\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"$png\"]"
    refused nobody "{\"inputs\":[{$tensor}]}" 404 'nobody'
    refused headless "{\"inputs\":[{$tensor}]}" 409 'head'
    refused plain '{"inputs":' 400 'body.*line'
    refused plain '[]' 400 'must be an object'
    refused plain '{}' 400 'inputs'
    refused plain "{\"inputs\":[{$tensor},{$tensor}]}" 400 'one tensor'
    refused plain "{\"inputs\":[{$tensor}],\"colour\":1}" 400 'colour'
    refused plain "{\"inputs\":[{$tensor,\"colour\":1}]}" 400 'inputs.0..colour'
    refused plain "{\"id\":5,\"inputs\":[{$tensor}]}" 400 'id'
    refused plain '{"inputs":[{"name":"picture","datatype":"BYTES","shape":[1],"data":["x"]}]}' 400 'name must be image'
    refused plain '{"inputs":[{"name":"image","datatype":"FP32","shape":[1],"data":["x"]}]}' 400 'datatype of image must be BYTES'
    refused plain '{"inputs":[{"name":"pixels","datatype":"FP64","shape":[1,3,32,32],"data":[1]}]}' 400 'datatype of pixels must be FP32'
    for shape in '[]' '[0]' '[-1]' '[1,1]' '[1.5]' '1' 'null' '"1"'; do
        refused plain "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":$shape,\"data\":[\"$png\"]}]}" 400 'shape must be .n.'
    done
    refused plain '{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,3,32,31],"data":[1]}]}' 400 'shape must be .n,3,32,32.'
    refused plain '{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,32,32,3],"data":[1]}]}' 400 'shape must be .n,3,32,32.'
    refused plain '{"inputs":[{"name":"image","datatype":"BYTES","shape":[1000000],"data":["x"]}]}' 413 'at most 256'
    refused plain "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"$png\"]}]}" 400 'has 1 elements, the shape asks for 2'
    refused plain '{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":[]}]}' 400 'data'
    refused plain '{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":[7]}]}' 400 'data.0. is not base64'
    for text in 'x' '====' 'ab=c' 'a b=' 'abc' 'YWJj\n'; do
        refused plain "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"$png\",\"$text\"]}]}" 400 'data.1. is not base64'
    done
    refused plain '{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["YWJj"]}]}' 400 'data.0. is not a JPEG'
    refused plain "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"$png\",\"$(file cut.png)\"]}]}" 400 'data.1.'
    refused plain "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"$(file huge.png)\"]}]}" 413 'data.0.'
    refused plain "{\"inputs\":[{$tensor}],\"outputs\":[{\"name\":\"scores\"}]}" 400 'outputs.0..name'
    refused plain "{\"inputs\":[{$tensor}],\"outputs\":[{\"name\":\"label\"},{\"name\":\"label\"}]}" 400 'label is asked for twice'
    refused plain "{\"inputs\":[{$tensor}],\"outputs\":[]}" 400 'outputs'
    refused plain "{\"inputs\":[{$tensor,\"parameters\":{\"binary_data_size\":5}}]}" 400 'binary data'
    call POST /v2/models/plain/infer -H 'Inference-Header-Content-Length: 10' -H 'Content-Type: application/octet-stream' --data-binary "{\"inputs\":[{$tensor}]}"
    expect 400 '.error | test("binary data")'
    head -c $((33 << 20)) /dev/zero | tr '\0' ' ' > "$BATS_TEST_TMPDIR/large"
    refused plain "@$BATS_TEST_TMPDIR/large" 413 'more than'
    call GET /v2/models/plain/infer
    expect 405
}
