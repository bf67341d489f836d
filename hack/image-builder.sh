#!/usr/bin/env bash
# Builds the container image `slipway-builder` from deploy/Dockerfile.builder: the
# registry with all that it needs to build images. Its system is Debian, made from
# packages by mmdebstrap, so that no base image is fetched.
#   IMAGE=name:tag hack/image-builder.sh    default: slipway-builder
#   hack/image-builder.sh system            makes only Debian, which needs the network
#   DEBIAN_MIRROR                           http://deb.debian.org
#
# How to run it stands in deploy/Dockerfile.builder. The system is kept in
# .build/image-builder for the next time; `make clean` removes it.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-slipway-builder}
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
suite=bookworm
packages=ca-certificates,containernetworking-plugins,git,iptables,openssh-client,runc

context=.build/image-builder
mkdir -p "$context"
recipe="$suite $mirror $packages 1" # count on when the commands below change
if [ "$(cat "$context/recipe" 2>/dev/null)" != "$recipe" ]; then
  hack/setup.sh mmdebstrap:mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
  echo "bootstrapping Debian $suite from $mirror"
  rm -f "$context/recipe"
  if ! mmdebstrap --quiet --variant=essential --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --include="$packages" \
    --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' $suite "$context/root.tar" \
    "deb $mirror/debian $suite main" "deb $mirror/debian $suite-updates main" \
    "deb $mirror/debian-security $suite-security main" >"$context/log" 2>&1; then
    tail -n 30 "$context/log" >&2
    echo "bootstrapping Debian failed; is $mirror within reach? DEBIAN_MIRROR names another" >&2
    exit 1
  fi
  echo "$recipe" >"$context/recipe"
fi
[ "${1-}" != system ] || exit 0

CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$context/slipway" ./cmd/slipway
hack/buildkitd.sh "$context"
cp deploy/Dockerfile.builder "$context/Dockerfile"

hack/container-build.sh "$image" "$version" "$context"
