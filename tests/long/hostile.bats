# 2,000 hostile inputs of five families: none ends the service, holds a thread over 10 seconds, or
# leaves a file. Prints what was answered and what it cost.

load ../api/helpers

setup_file() {
    start_server
}

teardown_file() {
    stop_server
}

hostile() {
    local program=$1 status=0
    shift
    python3 "$SOURCE/tests/hostile/$program.py" --url "$URL" --pid "$(server_pid)" --data "$DATA" "$@" > "$BATS_TEST_TMPDIR/said" || status=$?
    sed 's/^/# /' "$BATS_TEST_TMPDIR/said" >&3
    return $status
}

@test "2,000 inputs, one after the other" {
    hostile attack --count 2000
}

@test "500 others, four at a time" {
    hostile attack --seed 2 --count 500 --parallel 4 --seconds 40
}

@test "many clients with bombs, with large pictures, with large bodies, with all the time in the world" {
    hostile starve --attack bombs
    hostile starve --attack archives --patience 20
    hostile starve --attack squares --patience 20
    hostile starve --attack json --clients 8
    hostile starve --attack slow --patience 60
}
