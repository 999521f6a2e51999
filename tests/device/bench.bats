# `gonio bench` on a GPU that the host runner plays: every operation and kind of step is measured, and said against the ceilings. The
# figures themselves are a CPU's and say nothing of a GPU.

bats_require_minimum_version 1.5.0

# bench ONLY PRECISION: rows as JSON.
bench() {
    "$GONIO" bench --json --device cuda:0 --batch 1 --seconds 0.001 --only "$1" --precision "$2" >"$BATS_TEST_TMPDIR/rows" 2>"$BATS_TEST_TMPDIR/errors" ||
        { cat "$BATS_TEST_TMPDIR/errors"; return 1; }
}

# rows FILTER: the rows satisfy it.
rows() {
    jq -e "$1" "$BATS_TEST_TMPDIR/rows" >/dev/null || {
        echo "not so: $1"
        cat "$BATS_TEST_TMPDIR/rows"
        return 1
    }
}

@test "operations: one row each, with what it needs at least, against a large product and a large copy" {
    bench device bf16
    rows 'all(.value > 0 and .value < 1e12)'
    # two ceilings; 8192 cubed would take the host runner minutes, and is left out
    rows 'map(select(.unit != "s") | .unit) == ["GFLOP/s", "GB/s"]'
    rows 'map(select(.unit == "s")) | length == 31 and (map(.name) | unique | length) == 31'
    # every product of a block's step, its activation apart, and what follows it
    rows '(map(.name) | map(rtrimstr(" batch 1"))) as $names | ["qkv", "proj, residual", "fc1 alone", "fc1, GELU", "fc2, residual", "fc2 input gradient alone", "fc2 input gradient, GELU", "fc2 input gradient, GELU and its output", "fc1 input gradient", "proj input gradient", "qkv input gradient", "fc2 weight gradient", "fc1 weight gradient", "proj weight gradient", "qkv weight gradient", "attention backward", "layer norm", "embedding backward", "cross-entropy", "AdamW", "zeroing of gradients", "soup, a model added"] | all(. as $name | $names | index($name) != null)'
    # what it needs; the floor follows from it and the ceilings, the ratio from the floor and the time
    rows 'def near($a; $b): ($a - $b) | fabs <= 1e-6 * $b; (map(select(.unit == "GFLOP/s"))[0].value * 1e9) as $product | (map(select(.unit == "GB/s"))[0].value * 1e9) as $copy | map(select(.unit == "s")) | all(.bytes > 0 and .flops >= 0 and .reference > 0 and .ratio > 0 and .ratio < 1e6 and near(.reference; [.flops / $product, .bytes / $copy] | max) and near(.ratio; .reference / .value))'
    rows 'map(select(.name | test("^(qkv|proj|fc1|fc2|attention|embedding)"))) | all(.flops > 0)'
    # 197 rows, 768 x 2304 weights
    rows '[.[] | select(.name == "qkv batch 1")] | length == 1 and .[0].flops == 2 * 197 * 768 * 2304 and .[0].bytes == 2 * (197 * 768 + 197 * 2304 + 768 * 2304)'
}

@test "steps, with and without a kept prefix" {
    bench "step/ViT-Ti/16 l" bf16
    rows '[.[] | select(.section == "step") | [.name, .unit]] as $seen | all(("last_third batch 1", "last_third batch 1, prefix kept", "linear batch 1", "linear batch 1, prefix kept") as $name | ("images/s", "s", "GFLOP/s", "GB/s") as $unit | ["ViT-Ti/16 " + $name, $unit]; . as $want | $seen | index([$want]) != null)'
    rows 'map(select(.section == "step" and .unit == "s")) | length == 5 and all(.flops > 0 and .bytes > 0 and .ratio > 0 and .ratio < 1e6)'
    # what the device really lost: the plan's figure without the driver's share, which the host runner's device does not need
    rows 'map(select(.section == "memory measured")) | length == 3 and all(.value <= .reference and (.reference - .value - 640 * 1048576 | fabs) < 4 * 1048576)'
    rows 'map(select(.section == "memory overhead")) | length == 3 and all(.value > 0 and .value < .reference)'
    rows 'map(select(.section == "images" and (.name | startswith("loader")))) | length == 1 and .[0].unit == "images/s" and .[0].value > 0'
    rows '(map(select(.section == "images"))[0].value) as $loader | (map(select(.section == "step" and .unit == "images/s" and (.name | endswith("kept") | not)))) as $steps | map(select(.section == "loader / step")) | length == ($steps | length) and all(. as $row | ($steps[] | select(.name == $row.name).value) as $rate | ($row.value - $loader / $rate | fabs) <= 1e-6 * $row.value)'
}

@test "inference" {
    bench inference/ViT-Ti fp32
    rows 'map(select(.section == "inference") | .name) | sort == ["ViT-Ti/16 batch 1", "ViT-Ti/16 one image"]'
}

@test "a batch that cannot be" {
    for batch in 0 257 many; do
        run -2 "$GONIO" bench --batch $batch
        [[ $output == *batch* ]]
    done
}
