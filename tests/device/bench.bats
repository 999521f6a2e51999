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

@test "operations: seconds, GFLOP/s, GB/s against a large product and a large copy" {
    bench device bf16
    rows 'all(.value > 0 and .value < 1e12)'
    rows '(map(select(.unit == "s") | .name) | sort) == (map(select(.unit == "GB/s" and .reference != null) | .name) | sort)'
    rows 'map(select(.unit == "s") | .name) | length == 21 and contains(["qkv", "fc1, GELU", "attention backward", "layer norm", "embedding backward", "cross-entropy", "AdamW", "soup, a model added"])'
    rows '(map(select(.unit == "GFLOP/s" and .reference == null)) | length == 1) and (map(select(.unit == "GB/s" and .reference == null)) | length == 1)'
    # one ceiling for all
    rows '([.[] | select(.unit == "GFLOP/s") | .reference // .value] | unique | length == 1) and ([.[] | select(.unit == "GB/s") | .reference // .value] | unique | length == 1)'
}

@test "steps, with and without a kept prefix" {
    bench "step/ViT-Ti/16 l" bf16
    rows '[.[] | select(.section == "step") | [.name, .unit]] as $seen | all(("last_third batch 1", "last_third batch 1, prefix kept", "linear batch 1", "linear batch 1, prefix kept") as $name | ("images/s", "s", "GFLOP/s", "GB/s") as $unit | ["ViT-Ti/16 " + $name, $unit]; . as $want | $seen | index([$want]) != null)'
    rows 'map(select(.section == "memory measured")) | length > 0 and all(.value <= .reference)'
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
