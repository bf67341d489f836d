#!/usr/bin/env bash
# Makes sure that a Slipway server has the base images that examples/ build on.
#   hack/base-images.sh SERVER       such as 127.0.0.1:5000
#
# It asks the server's mirror for each. What the mirror cannot get, because Docker
# Hub is out of reach, is made from Debian's packages and this machine's Go, and
# imported under the mirror's names; it says so. Such an image has what the examples
# use of the original: it is a stand-in, not a copy.
#
#   SLIPWAY_BIN           the program, bin/slipway
#   BASE_IMAGES_TIMEOUT   seconds for the mirror to answer, 20
#   BASE_IMAGES_OFFLINE=1 do not ask the mirror for what the server lacks
#   DEBIAN_MIRROR         http://deb.debian.org
#
# What was made is kept in .build/base-images for the next time; `make clean`
# removes it.
set -euo pipefail
cd "$(dirname "$0")/.."

server=${1:?"usage: hack/base-images.sh SERVER"}
slipway=${SLIPWAY_BIN:-bin/slipway}
suite=bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
cache=.build/base-images
images=(debian:bookworm-slim golang:1.26 postgres:15 python:3.11-slim)

name() { echo "$server/docker.io/library/$1"; }

# missing prints the images that the server neither has nor can get.
missing() {
  local image pids=() i
  for image in "${images[@]}"; do
    timeout "${BASE_IMAGES_TIMEOUT:-20}" "$slipway" inspect "$(name "$image")" >/dev/null 2>"$work/${image%%:*}.err" &
    pids+=($!)
  done
  for i in "${!images[@]}"; do
    wait "${pids[i]}" || echo "${images[i]}"
  done
}

# kept IMAGE: the file that the image is kept in for the next time.
kept() { echo "$cache/${1%%:*}.image"; }

# make_archives bootstraps Debian once, and takes the images from it one after the
# other while packages come and go.
make_archives() {
  hack/setup.sh mmdebstrap:mmdebstrap tar:tar /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
  rm -rf "$cache"
  mkdir -p "$cache"
  echo "base images: bootstrapping Debian $suite from $mirror"
  if ! mmdebstrap --quiet --variant=minbase --format=null --skip=chroot/start-stop-daemon --dpkgopt=force-unsafe-io \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --setup-hook=hack/base-images/setup.sh \
    --customize-hook=hack/base-images/customize.sh \
    --customize-hook="copy-out /images/debian.tar /images/golang.tar /images/postgres.tar /images/python.tar $cache" \
    $suite /dev/null \
    "deb $mirror/debian $suite main" "deb $mirror/debian $suite-updates main" \
    "deb $mirror/debian-security $suite-security main" >"$work/mmdebstrap.log" 2>&1; then
    tail -n 30 "$work/mmdebstrap.log" >&2
    echo "base images: bootstrapping Debian failed; is $mirror within reach? DEBIAN_MIRROR names another" >&2
    return 1
  fi
  # Go as it is on this machine, without what only its own tests need.
  tar --append --file "$cache/golang.tar" --directory "$(go env GOROOT)" --owner=0 --group=0 --sort=name \
    --transform 's,^\./,./usr/local/go/,' --exclude=testdata --exclude='*_test.go' \
    ./VERSION ./go.env ./bin ./lib ./pkg/include ./pkg/tool ./src
  echo "$recipe" >"$cache/recipe"
}

# import IMAGE: what the original's configuration says, so far as it matters.
import() {
  local config path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  case $1 in
  debian:*) config=(--cmd bash) ;;
  golang:*) config=(--env GOTOOLCHAIN=local --env GOPATH=/go --workdir /go --cmd bash --compression zstd) path=/go/bin:/usr/local/go/bin:$path ;;
  postgres:*) config=(--env LANG=C.UTF-8 --env PGDATA=/var/lib/postgresql/data --entrypoint docker-entrypoint.sh --cmd postgres)
    path=/usr/lib/postgresql/15/bin:$path ;;
  python:*) config=(--env LANG=C.UTF-8 --cmd python3) ;;
  esac
  if [ ! -e "$(kept "$1")" ]; then
    "$slipway" import "$cache/${1%%:*}.tar" "$(name "$1")" --env "PATH=$path" "${config[@]}" \
      --label "org.opencontainers.image.description=a stand-in for docker.io/library/$1, made by hack/base-images.sh"
    # Compressed and ready: the next server gets it in a second or two.
    "$slipway" pull "$(name "$1")" "$(kept "$1").new" >/dev/null
    mv "$(kept "$1").new" "$(kept "$1")"
    rm "$cache/${1%%:*}.tar"
    return
  fi
  "$slipway" push "$(kept "$1")" "$(name "$1")"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mapfile -t lacking < <(missing)
if [ ${#lacking[@]} -eq 0 ]; then
  echo "base images: $server has them all: ${images[*]}"
  exit 0
fi
echo "base images: $server cannot get ${lacking[*]}: $(head -n 1 "$work/${lacking[0]%%:*}.err")"

recipe=$(cat hack/base-images.sh hack/base-images/* <(go env GOVERSION GOARCH) | sha256sum)
if [ "$(cat "$cache/recipe" 2>/dev/null)" = "$recipe" ]; then
  echo "base images: taking those made on $(date -r "$cache/recipe" +%F) from $cache instead"
else
  echo "base images: making them from Debian's packages and this machine's Go ($(go env GOVERSION)) instead"
  make_archives
fi
for image in "${lacking[@]}"; do
  import "$image" &
done
wait_all() { # the first failure is the script's
  local pid code=0
  for pid in $(jobs -p); do wait "$pid" || code=$?; done
  return $code
}
wait_all
