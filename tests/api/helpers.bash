# Shared by the API tests: a server of its own for each file, calls that are recorded, and what they must leave behind.
#
# A test file says `load helpers`, and in setup_file starts a server with `start_server [options]`. `call METHOD PATH [curl options]` sets STATUS, TYPE,
# BODY (a file) and HEADERS (a file), and records the reply; teardown_file stops the server, looks for sanitizer reports, and holds all
# replies against api/openapi.yaml. Records stay in the build tree for coverage.bats.

bats_require_minimum_version 1.5.0

SOURCE=${GN_SOURCE_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
GONIO=${GONIO:-$SOURCE/build/release/gonio}
RECORDS=$(dirname "$GONIO")/tests/api-traffic
HERE=$SOURCE/tests/api

# ---------------------------------------------------------------- the server

# start_server [options]: on a free port, with a data folder of its own; waits until it is ready.
start_server() {
    export IN=$BATS_FILE_TMPDIR/in DATA=$BATS_FILE_TMPDIR/data LOG=$BATS_FILE_TMPDIR/server.log
    export BODY=$BATS_FILE_TMPDIR/body HEADERS=$BATS_FILE_TMPDIR/headers
    export TRAFFIC=$RECORDS/$(basename "$BATS_TEST_FILENAME" .bats).jsonl
    mkdir -p "$RECORDS"
    : > "$TRAFFIC"
    launch "$@"
}

# launch [options]: starts the program on $DATA (again).
launch() {
    "$GONIO" serve --data "$DATA" --listen 127.0.0.1:0 --disk-reserve 0 "$@" > /dev/null 2>> "$LOG" 3>&- &
    echo $! > "$BATS_FILE_TMPDIR/pid"
    local waited=0 port=
    until [ -n "$port" ] && curl -sf -o /dev/null "http://127.0.0.1:$port/healthz"; do
        if ! kill -0 "$(server_pid)" 2> /dev/null || [ $waited -gt 600 ]; then
            echo "the server did not start:"
            cat "$LOG"
            return 1
        fi
        sleep 0.05
        waited=$((waited + 1))
        port=$(grep -o '127\.0\.0\.1:[0-9]*' "$LOG" | tail -1 | cut -d: -f2)
    done
    export URL=http://127.0.0.1:$port
}

server_pid() {
    cat "$BATS_FILE_TMPDIR/pid"
}

# stop_server [signal]: waits for the end, and fails when a sanitizer or the server itself has complained.
stop_server() {
    local pid waited=0
    pid=$(server_pid)
    kill "-${1:-TERM}" "$pid"
    while kill -0 "$pid" 2> /dev/null; do
        sleep 0.05
        waited=$((waited + 1))
        if [ $waited -gt 600 ]; then
            echo "the server does not stop"
            kill -KILL "$pid"
            return 1
        fi
    done
    local logs=("$LOG")
    [ ! -d "$DATA" ] || mapfile -O 1 -t logs < <(find "$DATA/runs" "$DATA/soups" "$DATA/evaluations" -name log.txt)
    if grep -E 'Sanitizer|runtime error|internal error' "${logs[@]}"; then
        cat "${logs[@]}"
        return 1
    fi
}

finish_file() {
    stop_server
    python3 "$HERE/check_traffic.py" "$SOURCE/api/openapi.yaml" "$TRAFFIC"
}

# ---------------------------------------------------------------- calls

# call METHOD PATH [curl options]
call() {
    local method=$1 path=$2 result
    shift 2
    : > "$BODY"
    if [ "$method" = HEAD ]; then set -- --head "$@"; else set -- -X "$method" "$@"; fi
    result=$(curl -s -o "$BODY" -D "$HEADERS" -w '%{http_code} %{content_type}' --max-time 60 "$@" "$URL$path") || true
    STATUS=${result%% *}
    TYPE=${result#* }
    TYPE=${TYPE%%;*}
    record "$method" "${path%%\?*}"
}

# Appends the reply to the records. The bodies of pictures, checkpoints and texts are not kept.
record() {
    local body=/dev/null
    case $TYPE in *json) body=$BODY ;; esac
    [ "$STATUS" != 304 ] || body=$BODY
    jq -cn --arg method "$1" --arg path "$2" --argjson status "$((10#$STATUS))" --arg type "$TYPE" --rawfile body "$body" --rawfile headers "$HEADERS" \
        '{$method, $path, $status, $type, headers: [$headers | split("\r\n")[1:][] | select(contains(":")) | split(":")[0] | ascii_downcase], $body}' >> "$TRAFFIC"
}

# post_json PATH JSON [curl options]
post_json() {
    local path=$1 json=$2
    shift 2
    call POST "$path" -H 'Content-Type: application/json' --data-binary "$json" "$@"
}

# upload PATH FILE [curl options]: the file as the body, streamed.
upload() {
    local path=$1 file=$2
    shift 2
    call POST "$path" -H 'Content-Type: application/octet-stream' -H 'Expect:' -T "$file" "$@"
}

# expect STATUS [jq condition on the body]
expect() {
    if [ "$STATUS" != "$1" ]; then
        echo "status $STATUS instead of $1:"
        head -c 2000 "$BODY"
        tail -3 "$LOG"
        return 1
    fi
    if [ $# -gt 1 ] && ! jq -e "$2" "$BODY" > /dev/null; then
        echo "not so: $2"
        head -c 4000 "$BODY"
        return 1
    fi
}

# expect_field POINTER: a 422 that names this field.
expect_field() {
    expect 422 ".errors | map(.pointer) | index(\"$1\") != null"
}

# field JQ: a value of the last body.
field() {
    jq -r "$1" "$BODY"
}

header() {
    grep -i "^$1:" "$HEADERS" | tail -1 | cut -d' ' -f2- | tr -d '\r'
}

# ---------------------------------------------------------------- things

inputs() {
    python3 "$HERE/make_inputs.py" "$IN" "$@"
}

# A fresh model of 2 blocks for pictures of 32 x 32. new_model NAME [classes]
new_model() {
    post_json /v1/models "{\"name\":\"$1\",\"init\":\"random\",\"architecture\":{\"image_size\":32,\"patch_size\":8,\"dim\":32,\"depth\":2,\"heads\":2,\"mlp_dim\":64,\"classes\":${2:-0},\"pool\":\"cls\"}}"
    expect 201
}

# wait_job runs|soups|evaluations JOB STATUS [seconds]
wait_job() {
    local waited=0
    while :; do
        call GET "/v1/$1/$2"
        [ "$(field .status)" != "$3" ] || return 0
        case $(field .status) in succeeded | failed | cancelled) waited=100000 ;; esac
        if [ $waited -ge $((${4:-30} * 10)) ]; then
            echo "$2 of $1 is $(field .status), not $3"
            cat "$BODY" "$LOG" "$DATA/$1/$(field .id)/log.txt"
            return 1
        fi
        sleep 0.1
        waited=$((waited + 1))
    done
}

# wait_run RUN STATUS [seconds]
wait_run() {
    wait_job runs "$@"
}

# Kills the worker of the one job, as soon as there is one.
kill_worker() {
    local worker waited=0
    until worker=$(pgrep -P "$(server_pid)"); do
        sleep 0.01
        waited=$((waited + 1))
        [ $waited -lt 6000 ] || return 1
    done
    kill -9 "$worker"
}

# eventually SECONDS COMMAND...: tries until the command succeeds.
eventually() {
    local tries=$(($1 * 20))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

# What the data folder holds, but for the database.
files() {
    (cd "$DATA" && find models datasets runs soups evaluations tmp -mindepth 1 | sort)
}

# Runs a command; afterwards the data folder must be as before, and the service alive.
leaves_nothing() {
    local before
    before=$(files)
    "$@"
    # what a broken upload leaves is removed a moment after its connection
    unchanged() { [ "$(files)" = "$before" ]; }
    if ! eventually 10 unchanged; then
        diff <(echo "$before") <(files)
        return 1
    fi
    curl -sf -o /dev/null "$URL/healthz"
}
