# No request ends the service, holds it or leaves anything behind: the worst inputs that are known,
# a sample of what is drawn from their families, and many hostile clients at once.
# tests/long/hostile.bats has the rest. A failure prints what makes its input again.

load ../api/helpers

setup_file() {
    start_server
}

teardown_file() {
    stop_server
}

hostile() {
    local program=$1
    shift
    python3 "$SOURCE/tests/hostile/$program.py" --url "$URL" --pid "$(server_pid)" --data "$DATA" "$@"
}

# Sanitizers make everything slow, and what they look for does not depend on how fast it comes.
release_only() {
    [ -z "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ] || skip "on the release build"
}

@test "the worst inputs" {
    if [ -n "${ASAN_OPTIONS:-}" ]; then set -- --seconds 60 --idle 20 --settle 20 --healthz 10 --megabytes 0; fi
    hostile attack "$@"
}

@test "a sample of the others" {
    release_only
    hostile attack --sample 60
}

@test "70 clients upload three layers of gzip" {
    release_only
    hostile starve --attack bombs
}

@test "70 clients send a byte a second" {
    release_only
    hostile starve --attack slow --patience 10
}
