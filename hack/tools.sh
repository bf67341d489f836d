#!/usr/bin/env bash
# Installs the Go programs that the tests and checks use, at pinned versions, into
# .build/tools. A program that is there at its version is left alone.
#   hack/tools.sh [NAME...]    default: what the tests use, all but golangci-lint
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A package=(
  [crane]=github.com/google/go-containerregistry/cmd/crane@v0.22.1
  [oras]=oras.land/oras/cmd/oras@v1.3.6
  [regctl]=github.com/regclient/regclient/cmd/regctl@v0.11.7
  [conformance]=github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
  [buildx]=github.com/docker/buildx/cmd/buildx@v0.38.2 # the version in go.mod
  [pebble]=github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1
  [golangci-lint]=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
)
names=("$@")
[ $# -gt 0 ] || names=(crane oras regctl conformance buildx pebble)

bin=$PWD/.build/tools
mkdir -p "$bin"
for name in "${names[@]}"; do
  want=${package[$name]:?"hack/tools.sh does not know the program $name"}
  stamp=$bin/.$name.version
  if [ -x "$bin/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    continue
  fi
  echo "installing $want into .build/tools"
  GOBIN=$bin GOFLAGS=-trimpath CGO_ENABLED=0 go install "$want"
  echo "$want" >"$stamp"
done
