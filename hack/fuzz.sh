#!/usr/bin/env bash
# Runs every fuzz target of the module for a given time: hack/fuzz.sh [10s]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}

found=0
while IFS=: read -r file target; do
  found=$((found + 1))
  echo "fuzzing $target in $(dirname "$file") for $time"
  go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time"
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal test | sed 's/func //' | sort)
echo "$found fuzz targets"
