# gonio train, soup and evaluate on plain files: every form of model and data, stopping and going
# on, what is refused, what is left behind.

load helpers

MODEL=(--model "$GOLDEN/method_soup_base.model.safetensors" --heads 2)

# train OUT [options]: a short run on the pictures that the models were made for.
train() {
    local out=$1
    shift
    gonio 0 train "${MODEL[@]}" --data "$GOLDEN/method.zip" --out "$out" --epochs 2 --batch-size 24 --strategy attention --head random "$@"
}

# The exit status is as wanted, and no folder has been made.
refuses() {
    local status=$1
    shift
    gonio "$status" "$@"
    [ ! -e out ]
}

@test "a run on a foreign checkpoint and an archive, and its angles" {
    train out
    says "epoch 2: train loss"
    grep -q '^val_accuracy  *0\.' <<< "$output"
    [ -s out/model.safetensors ]
    gonio 0 inspect out/model.safetensors
    [[ $output == *"blocks.0.attn.qkv.weight"* && $output != *"mlp"* ]]
    gonio 0 angles out --json
    json_line '[.layers[] | select(.group == "ffn").degrees] == [0,0,0,0,0,0]'
    json_line '[.layers[] | select(.group == "attention").degrees > 0] | all'
    unzip -p "$GOLDEN/method.zip" val/class2/03.png > picture.png
    gonio 0 classify out picture.png --json
    json_line '.predictions | map(.label) | index("class2") != null'
}

@test "what a foreign checkpoint does not say of its preprocessing" {
    for wrong in 0.5 0.5,0.5 0.5,0.5,0.5,0.5 0.5,0.5,2 a,b,c 0.5,,0.5 nan,0,0 ''; do
        refuses 1 train "${MODEL[@]}" --data "$GOLDEN/method.zip" --strategy full --out out "--mean=$wrong"
        says "--mean: must be three numbers from 0 to 1"
    done
    refuses 1 train "${MODEL[@]}" --data "$GOLDEN/method.zip" --strategy full --out out --std 1,1,0
    says "--std: must be three numbers from 0.0001 to 10"
    train out --mean 0.1,0.25,0.5 --std 0.75,0.625,0.5
    # in the file the JSON is a string of the metadata
    python3 - << 'END'
import json, struct
f = open("out/model.safetensors", "rb")
said = json.loads(json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]["gonio.preprocessing"])
assert [round(x, 6) for x in said["mean"]] == [0.1, 0.25, 0.5] and said["std"] == [0.75, 0.625, 0.5], said
END
    train usual
    ! cmp -s out/model.safetensors usual/model.safetensors
}

@test "the same run from a folder of pictures, from a link to it, and from the packed data" {
    train a
    mkdir pictures
    (cd pictures && unzip -q "$GOLDEN/method.zip")
    ln -s pictures linked
    gonio 0 train "${MODEL[@]}" --data pictures --out b --epochs 2 --batch-size 24 --strategy attention --head random
    gonio 0 train "${MODEL[@]}" --data linked/ --out c --epochs=2 --batch-size=24 --strategy=attention --head=random
    gonio 0 train "${MODEL[@]}" --data a/dataset --out d --epochs 2 --batch-size 24 --strategy '{"kind":"attention"}' --head random
    [ ! -e d/dataset ]
    cmp a/model.safetensors b/model.safetensors
    cmp a/model.safetensors c/model.safetensors
    cmp a/model.safetensors d/model.safetensors
}

@test "with --json every line is an event, and the last is the result" {
    train out --json
    json_line '.event == "epoch" and .data.epoch == 2'
    json_line '.event == "step"'
    [ "$(tail -1 <<< "$output" | jq -r .event)" = result ]
    json_line '.event == "result" and .data.val_accuracy >= 0'
}

@test "a run that is stopped goes on bit for bit; one that is done stays as it is" {
    train straight --epochs 120
    "$GONIO" train "${MODEL[@]}" --data "$GOLDEN/method.zip" --out broken --epochs 120 --batch-size 24 --strategy attention --head random \
        > /dev/null 2> log 3>&- &
    pid=$!
    until grep -qs '"epoch":3,' broken/events.ndjson; do
        kill -0 $pid
        sleep 0.02
    done
    kill -TERM $pid
    ended=0
    wait $pid || ended=$?
    cat log
    [ "$ended" -eq 3 ]
    [ ! -e broken/result.json ]
    gonio 0 train broken
    cmp straight/model.safetensors broken/model.safetensors
    before=$(wc -l < broken/events.ndjson)
    gonio 0 train broken --json
    json_line '.event == "result"'
    [ "$(wc -l < broken/events.ndjson)" -eq "$before" ]
}

@test "an angle-guided run: by a probe of its own, and from the folder of another run" {
    train probed --strategy '{"kind":"angle","probe":{"epochs":1},"order":"largest","attention_layers":1,"ffn_layers":1}'
    says "probe: epoch 1"
    says "chosen, largest angles:"
    train full --strategy full
    train out --strategy '{"kind":"angle","from":"full","order":"smallest","attention_layers":2,"ffn_layers":0}'
    gonio 0 angles full --json --choose smallest --attention-layers 2 --ffn-layers 0
    chosen=$(jq -c .selection.layers <<< "$output")
    gonio 0 angles out --json
    json_line "[.layers[] | select(.degrees > 0).name] == $chosen"
}

@test "angles that cannot choose" {
    train attention
    strategy() { echo "{\"kind\":\"angle\",\"from\":\"$1\",\"order\":\"largest\",\"attention_layers\":$2,\"ffn_layers\":$3}"; }
    angle=(train "${MODEL[@]}" --data attention/dataset --out out --strategy)
    refuses 1 "${angle[@]}" "$(strategy attention 1 1)"
    says "ffn layers were frozen"
    refuses 1 "${angle[@]}" "$(strategy attention 7 0)"
    says "must be between 0 and 6"
    refuses 1 "${angle[@]}" "$(strategy nothing 1 0)"
    says "nothing: there is no such file"
    refuses 1 train --model "$GOLDEN/method_soup_1.model.safetensors" --heads 2 --data attention/dataset --out out \
        --strategy "$(strategy attention 1 0)"
    says "no run on the model that --model names"
}

@test "soups of runs: uniform, weighted, greedy" {
    train a
    train b --strategy ffn --seed 1
    gonio 0 soup a b --out uniform
    gonio 0 soup b a --out turned --json
    json_line '.event == "result" and .data.kept == 2 and .data.val_accuracy == null'
    cmp uniform/model.safetensors turned/model.safetensors
    gonio 0 soup a b --out weighted --method weighted --weights 1,0
    says "1.0000 of a"
    gonio 0 soup a b --out greedy --method greedy --data a/dataset --json
    best=$(jq -s '[.[] | select(.event == "record").data.ingredients[].val_accuracy] | max' <<< "$output")
    json_line ".event == \"result\" and .data.val_accuracy >= $best"
    gonio 0 evaluate --model greedy --data a/dataset --json
    json_line ".event == \"result\" and .data.accuracy >= $best"
    gonio 0 soup greedy
    grep -q '^kept ' <<< "$output"
}

@test "a soup of files with a base, as numpy averages them" {
    echo '["class0","class1","class2","class3","class4","class5"]' > labels.json
    files=("$GOLDEN"/method_soup_[0-4].model.safetensors)
    gonio 0 soup "${files[@]}" --base "$GOLDEN/method_soup_base.model.safetensors" --heads 2 --labels labels.json --out soup
    [ "$(find soup -name 'imported-*' | wc -l)" -eq 6 ]
    gonio 0 inspect soup/model.safetensors
    [[ $output == *"head.weight"* && $output != *"cls_token"* ]]
}

@test "a tuned file with the base of another is refused" {
    train a
    train b --model "$GOLDEN/method_soup_1.model.safetensors"
    gonio 0 angles a/model.safetensors "${MODEL[1]}" --heads 2
    gonio 1 angles a/model.safetensors "$GOLDEN/method_soup_1.model.safetensors" --heads 2
    says "a/model.safetensors: was tuned from another base: "
    unzip -p "$GOLDEN/method.zip" val/class2/03.png > picture.png
    gonio 0 classify a/model.safetensors picture.png --base "${MODEL[1]}" --heads 2
    gonio 1 classify a/model.safetensors picture.png --base "$GOLDEN/method_soup_1.model.safetensors" --heads 2
    says "another base"
    gonio 4 evaluate --model a/model.safetensors --base "$GOLDEN/method_soup_1.model.safetensors" --heads 2 --data a/dataset
    says "another base"
    gonio 0 soup a a --out soup
    gonio 1 angles soup/model.safetensors "$GOLDEN/method_soup_1.model.safetensors" --heads 2
    says "another base"
}

@test "soups that are refused" {
    train a
    train b --data "$GOLDEN/method.zip" --image-size 16
    refuses 2 soup a a
    says "models and --out are required"
    refuses 2 soup a a --out out --method thick
    says "--method must be"
    refuses 2 soup a a --out out --method weighted
    says "--weights and --method weighted go together"
    refuses 2 soup a a --out out --method weighted --weights 1
    says "a number for each model"
    refuses 2 soup a a --out out --method weighted --weights 1,-1
    says "not negative"
    refuses 2 soup a a --out out --method greedy
    says "greedy needs --data"
    refuses 1 soup a "$GOLDEN/method_soup_1.model.safetensors" --heads 2 --out out
    says "does not name its base"
    refuses 1 soup a nothing --out out
    says "nothing: there is no such file"
    gonio 4 soup a b --out out
    says "image_size"
}

@test "an evaluation keeps its report only where it is told to" {
    train a
    gonio 0 evaluate --model a --data "$GOLDEN/method.zip" --split all
    grep -q '^images  *156$' <<< "$output"
    grep -Eq '^class5 +0?\.?[0-9.]+ of 26 images$' <<< "$output"
    gonio 0 evaluate --model a --data a/dataset --out report --json
    json_line '.event == "result" and (.data.confusion | flatten | add) == 84 and (.data.calibration | length) == 15'
    [ -s report/report.json ] && [ -s report/images.bin ]
    gonio 0 evaluate report
    grep -q '^images  *84$' <<< "$output"
}

@test "evaluations that are refused" {
    train a
    refuses 2 evaluate --model a
    says "--model and --data are required"
    refuses 2 evaluate --model a --data a/dataset --split most --out out
    says "--split must be"
    refuses 1 evaluate --model a --data nothing --out out
    says "nothing"
    gonio 4 evaluate --model a --data a/dataset --split test
    says "no image in its split test"
    gonio 4 evaluate --model "${MODEL[1]}" --heads 2 --data a/dataset
    says "does not know the names of its classes"
}

@test "runs that are refused leave nothing" {
    refuses 2 train --data x --out out
    says "--model, --data and --out are required"
    base=(train "${MODEL[@]}" --data "$GOLDEN/method.zip" --out out)
    refuses 2 "${base[@]}"
    says "--strategy is required"
    refuses 2 "${base[@]}" --strategy most
    says "--strategy must be one of"
    refuses 2 "${base[@]}" --strategy full --epochs 0
    says "--epochs must be between 1 and 10000"
    refuses 2 "${base[@]}" --strategy full --priority 3
    says "there is no option --priority"
    refuses 2 "${base[@]}" --strategy full --precision fp7
    says "--precision must be"
    refuses 1 train "${MODEL[@]}" --data nothing --strategy full --out out
    refuses 1 train --model "$GOLDEN/method.zip" --data "$GOLDEN/method.zip" --strategy full --out out
    echo "no archive" > text
    refuses 1 train "${MODEL[@]}" --data text --strategy full --out out
    mkdir -p one/class
    unzip -p "$GOLDEN/method.zip" val/class2/03.png > one/class/a.png
    refuses 1 train "${MODEL[@]}" --data one --strategy full --out out
    mkdir full
    touch full/file
    gonio 1 train "${MODEL[@]}" --data "$GOLDEN/method.zip" --strategy full --out full
    says "full is not an empty folder"
    train a
    gonio 1 train "${MODEL[@]}" --data "$GOLDEN/method.zip" --strategy full --out a
    says "to continue it: gonio train a"
    mkdir empty
    gonio 1 train "${MODEL[@]}" --data nothing --strategy full --out empty
    [ -z "$(ls -A empty)" ]
}

@test "a folder that holds no job" {
    mkdir empty
    gonio 2 train empty
    says "job.json"
    [ -z "$(ls -A empty)" ] # nothing is left in it
    mkdir other
    echo '{"job":' > other/job.json
    gonio 2 train other
    [ "$(ls -A other)" = job.json ]
    gonio 2 soup nothing
    says "nothing"
}

@test "a bar on a terminal, and none elsewhere" {
    train a
    [[ $stderr != *"["*"%"* ]]
    script -qec "$(printf '%q ' "$GONIO" train "${MODEL[@]}" --data a/dataset --out b --epochs 3 --strategy full)" /dev/null > screen < /dev/null
    grep -q $'\r\033\\[K\\[[#.]*\\] .*% epoch 1/3' screen
    grep -q 'epoch 3: train loss' screen
}
