#!/usr/bin/env bash
# Builds the container image `slipway` from deploy/Dockerfile. The image holds one
# static program, so that no base image is fetched. It uses the Docker Engine if
# one answers, else buildah or podman.
#   IMAGE=name:tag hack/image.sh    default: slipway
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-slipway}
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}

context=.build/image
mkdir -p "$context"
CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags "-s -w -X main.version=$version" \
  -o "$context/slipway" ./cmd/slipway
cp deploy/Dockerfile "$context/"

if docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
  # The engine's own builder is enough, and there is no plugin to install for it.
  builder=(env DOCKER_BUILDKIT=0 docker build)
else
  command -v buildah >/dev/null || command -v podman >/dev/null || hack/setup.sh buildah:buildah
  if command -v buildah >/dev/null; then
    builder=(buildah build --format docker)
  else
    builder=(podman build --format docker)
  fi
fi
echo "building image $image $version with ${builder[*]}"
"${builder[@]}" --tag "$image" --label "org.opencontainers.image.version=$version" "$context"
