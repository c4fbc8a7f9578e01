#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gets what the pages /docs and /redoc are made of: Swagger UI and ReDoc, of pinned versions, from npm's registry.
# usage: fetch_api_docs.sh FOLDER      then: meson configure BUILD -Dapi_docs=FOLDER (an absolute path)
set -euo pipefail

[ $# = 1 ] || { echo "usage: fetch_api_docs.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# package, version, SHA-256 of its archive
get() {
    npm pack --silent "$1@$2" >/dev/null || { echo "fetch_api_docs.sh: $1 $2 could not be fetched by npm" >&2; exit 1; }
    echo "$3  $1-$2.tgz" | sha256sum --check --quiet
    tar -xzf "$1-$2.tgz" --one-top-level="$1" --strip-components=1
}
get swagger-ui-dist 5.17.14 c57badf459aa6e65cc036b3862d0502a63f9a22546407ffcb0e64f85f816bb28
get redoc 2.1.5 37bf41c2d864aa515500d630137870c26a7876b601f746c36cecc45fdde3f2dd

cp swagger-ui-dist/swagger-ui-bundle.js swagger-ui-dist/swagger-ui.css redoc/bundles/redoc.standalone.js "$folder"
cat swagger-ui-dist/LICENSE swagger-ui-dist/NOTICE >"$folder/swagger-ui-licence.txt"
cat redoc/LICENSE redoc/bundles/redoc.standalone.js.LICENSE.txt >"$folder/redoc-licence.txt"
echo "$folder: $(du -sh "$folder" | cut -f1)"
