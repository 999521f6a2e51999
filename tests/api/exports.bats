# Exchange with transformers and timm: checkpoints and configs in their words, whole folders out and
# in again.

load helpers

setup_file() {
    start_server
    inputs pictures archives checkpoints
    upload '/v1/models?name=base&crop_pct=0.9' "$IN/timm.safetensors"
    expect 201
    upload '/v1/datasets?name=three' "$IN/good.zip"
    expect 201
    post_json /v1/runs '{"name":"first","model":"base","dataset":"three","strategy":"attention","epochs":3,"batch_size":6,"lr":0.003}'
    expect 201
    wait_run first succeeded
    call PATCH "/v1/models/$(field .result.model)" -H 'Content-Type: application/json' -d '{"name":"tuned"}'
    expect 200
}

teardown_file() {
    finish_file
}

# Python with the tensors and the metadata of safetensors files at hand.
check() {
    python3 - "$@" <<PY
import json, struct, sys

def read(path):
    data = open(path, 'rb').read()
    size = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + size])
    meta = header.pop('__metadata__', {})
    return meta, {n: (t['dtype'], t['shape'], data[8 + size + t['data_offsets'][0]:8 + size + t['data_offsets'][1]]) for n, t in header.items()}

$(cat)
PY
}

@test "a checkpoint in the names of transformers" {
    call GET '/v1/models/tuned/checkpoint?format=huggingface'
    expect 200
    [[ $(header Content-Disposition) == *tuned-huggingface-f32.safetensors* ]]
    cp "$BODY" "$BATS_TEST_TMPDIR/hf"
    call GET '/v1/models/tuned/checkpoint'
    cp "$BODY" "$BATS_TEST_TMPDIR/timm"
    call GET '/v1/models/tuned/checkpoint?format=huggingface&content=delta&dtype=bf16'
    expect 200
    cp "$BODY" "$BATS_TEST_TMPDIR/delta"
    check "$BATS_TEST_TMPDIR/hf" "$BATS_TEST_TMPDIR/timm" "$BATS_TEST_TMPDIR/delta" <<'PY'
(meta, hf), (_, timm), (_, delta) = map(read, sys.argv[1:])
assert meta['format'] == 'pt' and len(hf) == 4 + 2 * 16 + 4, sorted(hf)
layer = 'vit.encoder.layer.1.'
thirds = [hf[layer + f'attention.attention.{part}.weight'] for part in ('query', 'key', 'value')]
assert [t[1] for t in thirds] == [[64, 64]] * 3 and b''.join(t[2] for t in thirds) == timm['blocks.1.attn.qkv.weight'][2]
assert hf[layer + 'output.dense.weight'] == timm['blocks.1.mlp.fc2.weight'] and hf['classifier.bias'] == timm['head.bias']
assert hf['vit.embeddings.position_embeddings'] == timm['pos_embed'] and hf['vit.layernorm.weight'] == timm['norm.weight']
assert layer + 'attention.attention.key.weight' in delta and layer + 'output.dense.weight' not in delta and 'vit.layernorm.weight' not in delta
assert {t[0] for t in delta.values()} == {'BF16'}
PY
}

@test "configs" {
    call GET /v1/models/tuned/config
    expect 200 '.architectures == ["ViTForImageClassification"] and .model_type == "vit" and .hidden_size == 64 and .intermediate_size == 256 and .layer_norm_eps == 1e-6'
    expect 200 '.id2label == {"0":"blue","1":"green","2":"red"} and .label2id == {"blue":0,"green":1,"red":2}'
    call GET '/v1/models/tuned/config?format=timm'
    expect 200 '.architecture == "vit_base_patch16_224" and .label_names == ["blue","green","red"] and .model_args.embed_dim == 64 and .pretrained_cfg.crop_pct == 0.9'
    call GET '/v1/models/base/config?format=huggingface'
    expect 200 '.id2label == {"0":"LABEL_0","1":"LABEL_1","2":"LABEL_2"}'
    call GET '/v1/models/tuned/config?format=jax'
    expect_field /format
    call GET /v1/models/nobody/config
    expect 404
}

@test "what a format cannot say is refused" {
    new_model headless
    call GET /v1/models/headless/config
    expect 422 '.errors[0] | .pointer == "/format" and (.detail | test("no head"))'
    post_json /v1/models '{"name":"mean","init":"random","architecture":{"image_size":32,"patch_size":8,"dim":32,"depth":1,"heads":2,"classes":2,"pool":"mean"}}'
    expect 201
    call GET '/v1/models/mean/checkpoint?format=huggingface'
    expect 422 '.errors[0] | .pointer == "/format" and (.detail | test("class token"))'
    call GET '/v1/models/mean/config?format=timm'
    expect 200 '.global_pool == "avg" and .model_args.class_token == false and .model_args.fc_norm == true'
    call POST '/v1/models?name=strange' -F "checkpoint=@$IN/timm.safetensors" -F "config=@$IN/config.json"
    expect 201
    call GET '/v1/models/strange/config?format=timm'
    expect 422 '.detail | test("an epsilon of 1e-12")'
    call GET /v1/models/base/export
    expect 422 '.detail | test("base model") and test("/checkpoint")'
    call GET '/v1/models/tuned/export?format=jax&archive=rar&dtype=f64'
    expect 422 '[.errors[].pointer] | sort == ["/archive","/dtype","/format"]'
    call GET /v1/models/nobody/export
    expect 404
}

@test "a folder in an archive, with a card that tells where it comes from" {
    local base dataset
    call GET /v1/models/base
    base=$(field .sha256)
    call GET /v1/datasets/three
    dataset=$(field .sha256)
    for format in huggingface timm; do
        for archive in zip tar; do
            call GET "/v1/models/tuned/export?format=$format&archive=$archive"
            expect 200
            [[ $(header Content-Disposition) == *"tuned-$format.$archive"* ]]
            cp "$BODY" "$BATS_FILE_TMPDIR/$format.$archive"
            python3 -c 'import shutil, sys; shutil.unpack_archive(*sys.argv[1:])' "$BATS_FILE_TMPDIR/$format.$archive" "$BATS_TEST_TMPDIR/$format-$archive"
        done
        diff -r "$BATS_TEST_TMPDIR/$format-zip" "$BATS_TEST_TMPDIR/$format-tar"
        [ "$(ls "$BATS_TEST_TMPDIR/$format-zip" | tr '\n' ' ')" = 'README.md config.json model.safetensors preprocessor_config.json ' ]
        grep -q "$base" "$BATS_TEST_TMPDIR/$format-zip/README.md"
        grep -q '^| data set | three' "$BATS_TEST_TMPDIR/$format-zip/README.md"
        grep -q '^| blocks.1.attn | yes | [0-9]' "$BATS_TEST_TMPDIR/$format-zip/README.md"
        grep -q '^| blocks.1.mlp | no | 0 |' "$BATS_TEST_TMPDIR/$format-zip/README.md"
        grep -q '^- 2: red$' "$BATS_TEST_TMPDIR/$format-zip/README.md"
        check "$BATS_TEST_TMPDIR/$format-zip/model.safetensors" "$base" "$dataset" <<'PY'
meta, _ = read(sys.argv[1])
said = json.loads(meta['gonio.provenance'])
assert said['base']['sha256'] == sys.argv[2] and said['dataset'] == {'id': said['dataset']['id'], 'name': 'three', 'sha256': sys.argv[3]}
assert said['strategy'] == 'attention' and said['tuned_layers'] == ['blocks.0.attn', 'blocks.1.attn', 'head']
assert said['angles']['blocks.0.attn'] > 0 and said['angles']['blocks.0.mlp'] == 0 and 0 <= said['val_accuracy'] <= 1
assert json.loads(meta['gonio.labels']) == ['blue', 'green', 'red']
PY
    done
    jq -e '.size == {"shortest_edge":35} and .crop_size == {"height":32,"width":32} and .resample == 3 and .image_processor_type == "BitImageProcessor"' "$BATS_TEST_TMPDIR/huggingface-zip/preprocessor_config.json"
}

# logits_of MODEL: the probabilities of a picture, to the last digit.
seen_by() {
    call POST "/v1/models/$1/classify?top=3" -H 'Content-Type: image/png' --data-binary "@$IN/b.png"
    field '.predictions | map([.label, .probability]) | tostring'
}

@test "there and back again: the same logits, bit for bit" {
    local was
    was=$(seen_by tuned)
    for format in huggingface timm; do
        for archive in zip tar; do
            upload "/v1/models?name=back-$format-$archive" "$BATS_FILE_TMPDIR/$format.$archive"
            expect 201 '.kind == "base" and .labels == ["blue","green","red"] and .architecture.norm_eps == 1e-6 and .preprocessing.crop_pct == 0.9'
            [ "$(seen_by "back-$format-$archive")" = "$was" ]
        done
    done
    call GET /v1/models/back-huggingface-zip
    expect 200 '.format == "huggingface"'
    # a model tuned from what came back goes out again
    post_json /v1/runs '{"name":"second","model":"back-huggingface-zip","dataset":"three","strategy":"linear","epochs":1,"batch_size":6}'
    expect 201
    wait_run second succeeded
    call GET "/v1/models/$(field .result.model)/export"
    expect 200
}

@test "without gonio's metadata the side files say it all" {
    python3 - "$BATS_FILE_TMPDIR/huggingface.zip" "$BATS_TEST_TMPDIR/plain.tar.gz" <<'PY'
import io, json, struct, sys, tarfile, zipfile

with zipfile.ZipFile(sys.argv[1]) as archive:
    files = {name: archive.read(name) for name in archive.namelist()}
data = files['model.safetensors']
size = struct.unpack('<Q', data[:8])[0]
header = json.loads(data[8:8 + size])
header['__metadata__'] = {'format': 'pt'}
text = json.dumps(header).encode()
files['model.safetensors'] = struct.pack('<Q', len(text)) + text + data[8 + size:]
with tarfile.open(sys.argv[2], 'w:gz') as out:
    for name, data in ({'.gitattributes': b'x', 'onnx/config.json': b'{"hidden_size": 1}'} | files).items():
        info = tarfile.TarInfo('models--me--it/' + name)
        info.size = len(data)
        out.addfile(info, io.BytesIO(data))
PY
    call POST '/v1/models?name=plain' -H 'Content-Type: application/gzip' --data-binary "@$BATS_TEST_TMPDIR/plain.tar.gz"
    expect 201 '.labels == ["blue","green","red"] and .architecture.norm_eps == 1e-6 and (.preprocessing.crop_pct * 1000 | floor) == 914'
    [ "$(seen_by plain)" = "$(seen_by tuned)" ]
    call POST '/v1/models?name=part' -F "checkpoint=@$BATS_TEST_TMPDIR/plain.tar.gz" -F "labels=@$IN/labels.json"
    expect 201 '.labels == ["ash","birch","cedar"]'
}

@test "archives that are no checkpoint's folder" {
    python3 - "$IN" <<'PY'
import io, sys, tarfile, zipfile

IN = sys.argv[1]
model = open(f'{IN}/timm.safetensors', 'rb').read()
config = open(f'{IN}/config.json', 'rb').read()

def zipped(name, entries):
    with zipfile.ZipFile(f'{IN}/{name}.zip', 'w', zipfile.ZIP_DEFLATED) as out:
        for path, data in entries:
            out.writestr(path, data)

zipped('two', [('a/model.safetensors', model), ('b/model.safetensors', model)])
zipped('none', [('config.json', config), ('README.md', b'hello')])
zipped('pickle', [('archive/data.pkl', b'x'), ('archive/data/0', b'y')])
zipped('sharded', [('model-00001-of-00002.safetensors', model), ('model-00002-of-00002.safetensors', model)])
zipped('dotdot', [('../model.safetensors', model)])
zipped('absolute', [('/etc/model.safetensors', model)])
zipped('twice', [('config.json', config), ('model.safetensors', model), ('config.json', config)])
zipped('fat_config', [('model.safetensors', model), ('config.json', b' ' * (5 << 20))])
zipped('configs', [(f'{n}/config.json', config) for n in range(20)] + [('model.safetensors', model)])
zipped('wrong_config', [('model.safetensors', model), ('config.json', config.replace(b'64', b'65'))])
zipped('broken_config', [('model.safetensors', model), ('config.json', b'{"hidden_size":')])
zipped('empty', [])
zipped('good', [('model.safetensors', model), ('config.json', config)])
open(f'{IN}/cut.zip', 'wb').write(open(f'{IN}/good.zip', 'rb').read()[:200000])
zipped('bomb', [('model.safetensors', b'\0' * (100 << 20))])
with tarfile.open(f'{IN}/link.tar', 'w') as out:
    info = tarfile.TarInfo('model.safetensors')
    info.type, info.linkname = tarfile.SYMTYPE, '/etc/passwd'
    out.addfile(info)
PY
    refused() {
        leaves_nothing upload /v1/models "$IN/$1"
        expect "$2" ".detail | test(\"$3\")"
    }
    refused two.zip 422 'two checkpoints'
    refused none.zip 422 'no .*safetensors'
    refused pickle.zip 422 'PyTorch.*safetensors first'
    refused sharded.zip 422 'several files'
    refused dotdot.zip 422 'leads out'
    refused absolute.zip 422 'leads out'
    refused twice.zip 422 'config.json.*twice'
    refused fat_config.zip 413 'config.json.*bytes'
    refused configs.zip 413 'config files'
    refused wrong_config.zip 422 'hidden_size'
    refused broken_config.zip 400 'config'
    refused empty.zip 422 'safetensors'
    refused cut.zip 400 'damaged|cut'
    refused link.tar 422 'symbolic link'
    refused bomb.zip 413 'times its size|more than'
    leaves_nothing call POST /v1/models -F "config=@$IN/config.json" -F "checkpoint=@$IN/good.zip"
    expect_field /config
    leaves_nothing call POST /v1/models -F "checkpoint=@$IN/good.zip" -F "config=@$IN/config.json"
    expect_field /config
    leaves_nothing call POST /v1/models -H 'Content-Type: text/plain' --data-binary "@$IN/good.zip"
    expect 415
}

@test "a soup's card names its ingredients, and what is gone is no longer known" {
    post_json /v1/runs '{"name":"third","model":"base","dataset":"three","strategy":"ffn","epochs":1,"batch_size":6}'
    expect 201
    wait_run third succeeded
    local third first
    third=$(field .result.model)
    call GET /v1/models/tuned
    first=$(field .id)
    post_json /v1/soups "{\"name\":\"mixed\",\"models\":[\"$first\",\"$third\"],\"method\":\"greedy\",\"dataset\":\"three\"}"
    expect 201
    wait_job soups mixed succeeded
    local soup
    soup=$(field .result.model)
    call GET "/v1/models/$soup/export?format=timm"
    expect 200
    python3 -c 'import shutil, sys; shutil.unpack_archive(*sys.argv[1:])' "$BODY" "$BATS_TEST_TMPDIR/soup" zip
    grep -q '^| soup | greedy average of tuned models: mdl' "$BATS_TEST_TMPDIR/soup/README.md"
    grep -q '^| accuracy on the validation split | [01]\.[0-9]* |$' "$BATS_TEST_TMPDIR/soup/README.md"
    check "$BATS_TEST_TMPDIR/soup/model.safetensors" "$first" "$third" <<'PY'
said = json.loads(read(sys.argv[1])[0]['gonio.provenance'])
assert said['run'] is None and said['soup']['method'] == 'greedy' and [i['model'] for i in said['soup']['ingredients']] == sys.argv[2:]
PY
    call DELETE /v1/runs/third
    expect 200
    call GET "/v1/models/$third/export"
    expect 200
    python3 -c 'import shutil, sys; shutil.unpack_archive(*sys.argv[1:])' "$BODY" "$BATS_TEST_TMPDIR/third" zip
    grep -q '^| strategy | no longer known |' "$BATS_TEST_TMPDIR/third/README.md"
    grep -q '^| blocks.0.mlp | yes |' "$BATS_TEST_TMPDIR/third/README.md"
}
