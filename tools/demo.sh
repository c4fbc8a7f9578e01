#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole service once through: a spoken recording, a server on a free port, a job, its transcript, how close it is.
# usage: demo.sh PATH/TO/steno
set -eu

steno=$(realpath "$1")
tools=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
server=

stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

say() {
    printf '\n\033[1m%s\033[0m\n' "$1"
}
# No colours into a file.
[ -t 1 ] || say() { printf '\n%s\n' "$1"; }

say "Making a recording of twelve spoken sentences ..."
"$tools/speak.sh" "$tools/demo-sentences.txt" "$work/talk.wav"
echo "talk.wav: $(soxi -d "$work/talk.wav"), $(stat -c %s "$work/talk.wav") bytes"

say "\$ steno serve --listen 127.0.0.1:0 --data DATA"
# Settings of the machine must not reach into the demo.
unset STENO_CONFIG STENO_SERVER STENO_DATA
cd "$work"
"$steno" serve --listen 127.0.0.1:0 --data "$work/data" >"$work/out" 2>"$work/log" &
server=$!
tries=0
until grep -q '^steno: data in' "$work/out"; do
    tries=$((tries + 1))
    if [ $tries -gt 200 ] || ! kill -0 "$server" 2>/dev/null; then
        echo "the server did not start:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.1
done
cat "$work/out"

say "\$ steno submit --wait talk.wav"
if ! "$steno" submit --wait --data "$work/data" --output "$work/talk.txt" talk.wav; then
    tail -n 20 "$work/log" >&2
    exit 1
fi
cat "$work/talk.txt"

id=$("$steno" jobs --data "$work/data" --limit 1 --json | sed -n 's/^ *"id": "\(.*\)",$/\1/p')
say "\$ steno result --format srt $id"
"$steno" result --data "$work/data" --format srt "$id"

rate=$(python3 "$tools/wer.py" "$tools/demo-sentences.txt" "$work/talk.txt")
say "Word error rate against what was spoken: $rate %"
kill "$server"
if ! wait "$server"; then
    server=
    echo "the server did not stop well:" >&2
    cat "$work/log" >&2
    exit 1
fi
server=
# One word in ten is the limit that this recording has to stay under.
case $rate in
[0-9].* | 10.0) ;;
*)
    echo "that is more than 10 %" >&2
    exit 1
    ;;
esac
