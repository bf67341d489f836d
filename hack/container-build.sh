#!/usr/bin/env bash
# Builds a container image from a folder that has a Dockerfile: with the Docker
# Engine if one answers, else with buildah or podman.
#   hack/container-build.sh IMAGE VERSION FOLDER
set -euo pipefail
image=$1 version=$2 context=$3

if docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
  # The engine's own builder is enough, and there is no plugin to install for it.
  builder=(env DOCKER_BUILDKIT=0 docker build)
else
  command -v buildah >/dev/null || command -v podman >/dev/null || "$(dirname "$0")/setup.sh" buildah:buildah
  if command -v buildah >/dev/null; then
    builder=(buildah build --format docker)
  else
    builder=(podman build --format docker)
  fi
fi
echo "building image $image $version with ${builder[*]}"
"${builder[@]}" --tag "$image" --label "org.opencontainers.image.version=$version" "$context"
