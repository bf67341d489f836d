#!/bin/sh
# Runs the tests, and leaves junit.xml and coverage.out in a folder.
#   ./test.sh OUT [GO TEST FLAGS]
# Coverage counts what was written, not what was generated.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"

go vet ./...
covered=$(go list ./... | grep -v -e '/internal/api$' -e '/internal/dbtest$' | paste -sd, -)
go tool gotestsum --format pkgname --junitfile "$out/junit.xml" -- \
  -coverpkg "$covered" -coverprofile "$out/coverage.out" "$@" ./...
go tool cover -func "$out/coverage.out" | tail -n 1
