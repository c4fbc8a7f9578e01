#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages named in the given lists (packaging/apt-*.txt) that are missing; calls apt only then.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "deps: not a Debian system; install what the lists name by other means: $*" >&2
    exit 0
fi

# One name a line; '#' starts a comment.
wanted=$(sed 's/#.*//' "$@" | tr -s ' \t' '\n' | sort -u)
missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    case $status in
    "install ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing packages, and neither root nor sudo to install them. As root:" >&2
        echo "    apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    sudo=sudo
fi

echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -q update
# shellcheck disable=SC2086 # a list of names
$sudo apt-get -q install -y --no-install-recommends $missing
