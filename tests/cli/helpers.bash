# Shared by the tests of the command line: the program, the reference models of tests/parity, and a folder without leftovers.

bats_require_minimum_version 1.5.0

SOURCE=${GN_SOURCE_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
GONIO=${GONIO:-$SOURCE/build/release/gonio}
GOLDEN=$SOURCE/tests/parity/golden

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR/tmp
    mkdir -p "$TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# Every command takes its temporary folders away, however it ends.
teardown() {
    [ -z "$(ls -A "$TMPDIR")" ] || { ls -lR "$TMPDIR"; return 1; }
}

# gonio STATUS ARGUMENTS...: runs the program; its exit status must be STATUS. $output is stdout, $stderr stderr.
gonio() {
    local wanted=$1
    shift
    run --separate-stderr "$GONIO" "$@"
    if [ "$status" -ne "$wanted" ]; then
        echo "gonio $*: exit status $status, not $wanted"
        echo "$output"
        echo "$stderr"
        return 1
    fi
    if grep -E 'Sanitizer|runtime error|internal error' <<< "$stderr"; then return 1; fi
}

# says TEXT: stderr has it.
says() {
    [[ $stderr == *"$1"* ]] || { echo "stderr does not say '$1': $stderr"; return 1; }
}

# every line of $output is JSON, and the condition holds for one of them.
json_line() {
    jq -e -s "map(select($1)) | length > 0" <<< "$output" > /dev/null || { echo "no line with $1:"; echo "$output"; return 1; }
}
