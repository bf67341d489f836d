#!/usr/bin/env bash
# Builds into a folder what a machine that builds images has beside slipway:
# buildkitd, unchanged, in the version that go.mod names, slipway-runc, and
# slipway-bake.
#   hack/buildkitd.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: hack/buildkitd.sh FOLDER}

version=$(go list -m -f '{{.Version}}' github.com/moby/buildkit)
package=github.com/moby/buildkit
export CGO_ENABLED=0 GOOS=linux
go build -trimpath -ldflags "-s -w -X $package/version.Version=$version" -o "$out/buildkitd" $package/cmd/buildkitd
go build -trimpath -ldflags '-s -w' -o "$out/slipway-runc" ./cmd/slipway-runc
go build -trimpath -ldflags '-s -w' -o "$out/slipway-bake" ./cmd/slipway-bake
