#!/usr/bin/env bash
# Builds the container image `slipway` from deploy/Dockerfile. The image holds one
# static program, so that no base image is fetched.
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

hack/container-build.sh "$image" "$version" "$context"
