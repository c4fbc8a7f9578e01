#!/bin/sh
# SPDX-License-Identifier: MIT
# Speaks a text file, one sentence a line with a pause after each, into a 16 kHz mono wav file.
# usage: speak.sh SENTENCES.txt OUT.wav [PAUSE_SECONDS]
#
# Voice and speed are the ones that PocketSphinx understands best of those that come with flite.
set -eu

sentences=$1 out=$2 pause=${3:-0.8}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sox -n -r 16000 -c 1 -b 16 "$work/pause.wav" trim 0.0 "$pause"
set -- "$work/pause.wav"
n=0
while IFS= read -r sentence || [ -n "$sentence" ]; do
    [ -n "$sentence" ] || continue
    n=$((n + 1))
    flite --setf duration_stretch=1.2 -voice rms -t "$sentence" -o "$work/$n.wav"
    set -- "$@" "$work/$n.wav" "$work/pause.wav"
done <"$sentences"
sox "$@" "$out"
