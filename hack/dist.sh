#!/usr/bin/env bash
# Builds what a release offers into dist/: static programs for Linux and macOS, and for
# Windows one without `serve`. The same commit with the same Go gives the same
# bytes: paths are trimmed, and tar gets the commit's time and no owner.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-$(git describe --tags --always --dirty)}
epoch=$(git log -1 --format=%ct)

rm -rf dist
mkdir -p dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do
  os=${platform%/*} arch=${platform#*/}
  name=slipway-$version-$os-$arch
  program=slipway
  [ "$os" = windows ] && program=slipway.exe
  mkdir -p "$work/$name"
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath \
    -ldflags "-s -w -X main.version=$version" -o "$work/$name/$program" ./cmd/slipway
  # What it reads bake and compose files with; on Windows it only sends them.
  [ "$os" = windows ] || CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$work/$name/slipway-bake" ./cmd/slipway-bake
  cp LICENSE "$work/$name/"
  [ "$os" != linux ] || cp deploy/slipway.service "$work/$name/"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" \
    -C "$work" -cf - "$name" | gzip -n -9 >"dist/$name.tar.gz"
  echo "dist/$name.tar.gz"
done
(cd dist && sha256sum -- *.tar.gz >SHA256SUMS)
