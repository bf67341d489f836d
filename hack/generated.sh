#!/usr/bin/env bash
# Fails unless the committed code is what the API documents give.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
code=0
for api in api examples/cool-app/api; do
  kept=$(sed -n 's/^output: //p' "$api/oapi-codegen.yaml")
  sed "s|^output: .*|output: $work/made.go|" "$api/oapi-codegen.yaml" >"$work/config.yaml"
  go tool oapi-codegen -config "$work/config.yaml" "$api/openapi.yaml"
  if ! cmp -s "$work/made.go" "$api/$kept"; then
    echo "$api/$kept is not what $api/openapi.yaml gives: run go generate in $api" >&2
    code=1
  fi
done
exit $code
