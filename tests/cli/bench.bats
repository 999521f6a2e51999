# gonio bench: rows as JSON, and the product library that they are compared with, which is optional.

load helpers

has_library() {
    ldd "$GONIO" | grep -qE 'libdnnl|libopenblas'
}

@test "rates of products are compared with a library, or bench says that there is none" {
    gonio 0 bench --only "product/" --seconds 0.01 --threads 1 --json
    if has_library; then
        [ "$stderr" = "" ]
        [ "$(jq -r '.[0].section, .[0].unit, (.[0].value > 0)' <<< "$output" | xargs)" = "product GFLOP/s true" ]
    else
        says "no reference library was built in"
        [ "$(jq -c . <<< "$output")" = "[]" ]
    fi
}

@test "rows stay without a library, and have no reference then" {
    gonio 0 bench --only "ViT-Ti/16 linear fc1 + GELU, 1 image" --seconds 0.01 --threads 1 --json
    [ "$(jq -r '.[].unit' <<< "$output" | xargs)" = "GFLOP/s GB/s" ]
    [ "$(jq '.[0].reference != null' <<< "$output")" = "$(has_library && echo true || echo false)" ]
}
