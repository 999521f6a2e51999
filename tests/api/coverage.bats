# Every endpoint and every status that api/openapi.yaml declares was seen by some test of this
# folder. Runs after all the others.

load helpers

@test "every declared endpoint and status was exercised" {
    run python3 "$HERE/check_traffic.py" --coverage "$SOURCE/api/openapi.yaml" "$RECORDS"/*.jsonl
    echo "$output"
    [ "$status" -eq 0 ]
}
