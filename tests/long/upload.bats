# A gigabyte of pictures comes in while the service's memory stays small.

load ../api/helpers

setup_file() {
    local pictures=$BATS_FILE_TMPDIR/pictures big=$BATS_FILE_TMPDIR/big picture copy class
    start_server
    "$(dirname "$GONIO")/shapes" --domain b --size 512 --quality 100 --train 12 --val 1 "$pictures"
    # Copies of a picture in its own class are data like any other.
    for picture in "$pictures"/train/*/*.jpg; do
        class=$big/$(basename "$(dirname "$picture")")
        mkdir -p "$class"
        for copy in $(seq 60); do
            cp "$picture" "$class/$copy-${picture##*/}"
        done
    done
    tar -C "$big" -cf "$BATS_FILE_TMPDIR/big.tar" .
    rm -r "$pictures" "$big"
}

teardown_file() {
    stop_server
}

@test "an archive of a gigabyte is taken in under 150 MB of memory" {
    local bytes peak
    bytes=$(stat -c %s "$BATS_FILE_TMPDIR/big.tar")
    [ "$bytes" -gt 1000000000 ]
    SECONDS=0
    upload '/v1/datasets?name=big' "$BATS_FILE_TMPDIR/big.tar" --max-time 900
    peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$(server_pid)/status")
    echo "# $bytes bytes in $SECONDS s, peak $peak kB" >&3
    expect 201 '.images.train + .images.val == 5760'
    [ "$peak" -lt 150000 ]
}
