#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the libFuzzer targets with clang and runs each for a while. usage: fuzz.sh [SECONDS]
# What they find stays in build-fuzz/found; corpora grow in build-fuzz/corpus.
set -eu
cd "$(dirname "$(realpath "$0")")/.."
seconds=${1:-30}
[ -f build-fuzz/build.ninja ] ||
    CC=clang meson setup build-fuzz -Dfuzz=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
ninja -C build-fuzz
mkdir -p build-fuzz/found
tests/fuzz/make_corpus.py build-fuzz/corpus
for target in build-fuzz/tests/fuzz/fuzz_*; do
    # Beside the programs stand folders with their object files.
    if [ ! -f "$target" ]; then continue; fi
    name=$(basename "$target")
    mkdir -p "build-fuzz/corpus/$name"
    echo "$name: $seconds s"
    "$target" -max_total_time="$seconds" -artifact_prefix="build-fuzz/found/$name-" -verbosity=0 -print_final_stats=1 \
        "build-fuzz/corpus/$name"
done
