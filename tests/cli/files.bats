# gonio inspect, angles and classify on files: gonio's own, foreign ones, folders; what is refused
# and with which exit status.

load helpers

# A picture of the data set that the models of method_soup_* were made for.
picture() {
    unzip -p "$GOLDEN/method.zip" val/class2/03.png > picture.png
}

@test "every command has a help that names its exit statuses" {
    for command in inspect angles classify bench; do
        gonio 0 "$command" --help
        [[ $output == "usage: gonio $command "* ]]
        [[ $output == *"Exit status: 0 done;"* ]]
    done
    gonio 0 help
    [[ $output == *"angles"* ]]
}

@test "a wrong command line is status 2 and says what is wrong" {
    gonio 2
    gonio 2 fly
    says "there is no command 'fly'"
    gonio 2 angles
    says "something is missing"
    gonio 2 angles a b c
    says "too many words"
    gonio 2 angles a b --colour red
    says "there is no option --colour"
    gonio 2 classify a b --top
    says "--top needs a value"
    gonio 2 classify a b --top=many
    says "--top must be a whole number from 1 to 1000"
    gonio 2 classify a b --json=yes
    says "--json takes no value"
    gonio 2 angles "$GOLDEN/method_tuned_f32.model.safetensors" "$GOLDEN/method_base_f32.model.safetensors" --heads 2 --choose middle
    says "--choose must be largest or smallest"
}

@test "inspect lists tensors as text and as JSON" {
    gonio 0 inspect "$GOLDEN/method_base_f16.model.safetensors"
    [[ $output == *"F16   blocks.0.attn.qkv.weight"*"(24, 8)"* ]]
    [[ $output == *" numbers" ]]
    gonio 0 inspect --json "$GOLDEN/method_base_f16.model.safetensors"
    json_line '.name == "head.bias" and .dtype == "F16" and .shape == [6]'
    gonio 1 inspect nothing.safetensors
    says "nothing.safetensors"
    echo "no tensors" > text
    gonio 1 inspect text
}

@test "angles of two foreign checkpoints, and the layers that they choose" {
    tuned=$GOLDEN/method_tuned_f32.model.safetensors base=$GOLDEN/method_base_f32.model.safetensors
    gonio 0 angles "$tuned" "$base" --heads 2
    grep -Eq '^blocks.1.attn +attention +180.000000000 +1$' <<< "$output"
    gonio 0 angles "$tuned" "$base" --heads 2 --json --choose largest --attention-layers 1 --ffn-layers 0
    json_line '.unit == "degree" and (.layers | length) == 12 and .selection == {"order":"largest","layers":["blocks.1.attn"]}'
    gonio 0 angles "$tuned" "$base" --heads 2 --choose smallest --attention-layers 0 --ffn-layers 1
    grep -q 'blocks.2.mlp .*chosen$' <<< "$output"
    gonio 1 angles "$tuned" "$base" --heads 2 --choose largest --ffn-layers 7
    says "--ffn-layers: must be between 0 and 6"
    gonio 1 angles "$base" "$base" --heads 2 --choose largest
    says "were frozen where the angles were measured"
}

@test "models that do not fit, and files that are not there" {
    gonio 1 angles "$GOLDEN/method_tuned_f32.model.safetensors" "$GOLDEN/timm_cls.model.safetensors" --heads 2
    says "shape"
    gonio 2 angles "$GOLDEN/method_tuned_f32.model.safetensors" --heads 2
    says "BASE is missing"
    gonio 1 angles nothing "$GOLDEN/method_base_f32.model.safetensors"
    says "nothing: there is no such file"
    gonio 1 angles "$GOLDEN/method_tuned_f32.model.safetensors" "$GOLDEN/method_base_f32.model.safetensors" --heads many
    says "--heads: must be a whole number"
    mkdir empty
    gonio 1 angles empty empty
    says "empty: the folder holds no model.safetensors"
}

@test "classify a picture by a foreign checkpoint" {
    picture
    echo '["a","b","c","d","e","f"]' > labels.json
    model=$GOLDEN/method_soup_0.model.safetensors
    gonio 0 classify "$model" picture.png --heads 2 --labels labels.json --top 2
    [ "$(wc -l <<< "$output")" -eq 2 ]
    [[ $output == "picture.png"$'\t'[a-f]$'\t'0.* ]]
    gonio 0 classify "$model" picture.png --heads 2 --json --top 6
    json_line '.file == "picture.png" and (.predictions | length) == 6 and ((.predictions | map(.probability) | add) - 1 | fabs) < 1e-5'
    json_line '.predictions[0].label == null'
}

@test "a picture that cannot be read does not keep the others from being classified" {
    picture
    echo "no picture" > broken.png
    gonio 1 classify "$GOLDEN/method_soup_0.model.safetensors" broken.png picture.png missing.png --heads 2 --json
    says "broken.png"
    json_line '.file == "broken.png" and .error != null'
    json_line '.file == "picture.png" and .predictions != null'
    json_line '.file == "missing.png" and .error != null'
    cp picture.png $'caf\xe9.png'
    gonio 0 classify "$GOLDEN/method_soup_0.model.safetensors" $'caf\xe9.png' --heads 2 --json
    json_line '.file == "(not UTF-8)" and .predictions != null'
}

@test "a folder with a model and its companions, as transformers saves them" {
    picture
    mkdir hf
    cp "$GOLDEN/hf_vit.model.safetensors" hf/model.safetensors
    cp "$GOLDEN/hf_vit.config.json" hf/config.json
    gonio 0 classify hf picture.png --json
    json_line '.predictions | length == 5'
    rm hf/config.json
    gonio 1 classify hf picture.png
}

@test "a model without a head cannot classify" {
    picture
    cp "$GOLDEN/hf_vit_bare.model.safetensors" bare.safetensors
    gonio 1 classify bare.safetensors picture.png --heads 3 --config "$GOLDEN/hf_vit_bare.config.json"
    says "bare.safetensors: the model has no classification head"
}
