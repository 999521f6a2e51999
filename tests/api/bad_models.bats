# Checkpoints that cannot become a model: the right status, the tensor or field at fault, nothing
# left on the disk.

load helpers

setup_file() {
    start_server
    inputs checkpoints bad_checkpoints
}

teardown_file() {
    finish_file
}

# refused STATUS NAME [text in the detail]
refused() {
    leaves_nothing upload /v1/models "$IN/bad_$2.safetensors"
    expect "$1" "[.detail, (.errors // [])[].detail, (.errors // [])[].pointer] | map(test(\"${3:-....}\")) | any"
}

@test "cut, or with a header that lies" {
    refused 400 cut
    refused 400 cut_header
    refused 400 long_header
    refused 400 short_header
    refused 400 not_json
    refused 400 zero
    refused 400 text
}

@test "offsets that overlap or leave the file" {
    refused 400 overlap 'blocks.0'
    refused 400 outside 'head.bias'
}

@test "weights that are no numbers, or none that we read" {
    refused 422 nan 'blocks.1.mlp.fc2.bias'
    refused 422 integers 'blocks.1.norm1.bias'
}

@test "tensors that are missing, doubled or of another shape" {
    refused 422 missing 'blocks.1.mlp.fc1.weight'
    refused 422 no_block 'blocks.1'
    refused 422 wrong_shape 'blocks.0.attn.proj.weight'
    leaves_nothing upload /v1/models "$IN/bad_doubled.safetensors"
    [ "$STATUS" = 400 ] || [ "$STATUS" = 422 ]
    refused 422 no_vit
}

@test "heads that do not divide the width" {
    leaves_nothing upload '/v1/models?heads=5' "$IN/timm.safetensors"
    expect_field /heads
}

@test "query parameters that do not fit, all at once" {
    leaves_nothing upload '/v1/models?heads=0&image_size=x&mean=1,2&std=0,0,0&crop_pct=2&activation=relu&norm_eps=-1&allow_unused=maybe&name=A' "$IN/timm.safetensors"
    expect 422 '[.errors[].pointer] | sort == ["/activation","/allow_unused","/crop_pct","/heads","/image_size","/mean","/name","/norm_eps","/std"]'
}

@test "forms with wrong parts" {
    leaves_nothing call POST /v1/models -F "config=@$IN/config.json"
    expect_field /checkpoint
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors" -F "colour=red"
    expect_field /colour
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors" -F "checkpoint=@$IN/timm.safetensors"
    expect_field /checkpoint
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors" -F 'labels=["one"]'
    [ "$STATUS" = 422 ]
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors" -F 'labels=["one"'
    [ "$STATUS" = 400 ] || [ "$STATUS" = 422 ]
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/timm.safetensors" -F 'config={"hidden_size":'
    [ "$STATUS" = 400 ] || [ "$STATUS" = 422 ]
}

@test "a body of another type" {
    leaves_nothing call POST /v1/models -H 'Content-Type: text/html' --data-binary "@$IN/timm.safetensors"
    expect 415
    leaves_nothing post_json /v1/models '{"init":'
    expect 400
}

@test "after all that a good one still comes in" {
    upload '/v1/models?name=good' "$IN/timm.safetensors"
    expect 201
}
