#!/usr/bin/env bash
# Installs the Debian packages that a task needs and the machine lacks. It says
# what it installs, and never removes or upgrades a package.
#   hack/setup.sh tests              everything that `make test` uses
#   hack/setup.sh PROGRAM:PACKAGE…   PACKAGE where PROGRAM, a name or a file's path,
#                                    is not there
set -euo pipefail

if [ "${1-}" = tests ]; then
  set -- gcc:gcc /usr/include/stdio.h:libc6-dev dockerd:docker.io docker:docker.io podman:podman buildah:buildah \
    skopeo:skopeo docker-registry:docker-registry iptables:iptables busybox:busybox-static runc:runc \
    /usr/lib/cni/ptp:containernetworking-plugins unshare:util-linux systemd-analyze:systemd \
    mmdebstrap:mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring tar:tar \
    /usr/share/postgresql-common/pg_wrapper:postgresql python3:python3 \
    containerd:containerd curl:curl wget:wget dash:dash update-ca-certificates:ca-certificates
fi

PATH=$PATH:/usr/sbin:/sbin # where Debian keeps dockerd and iptables
missing=()
for pair in "$@"; do
  program=${pair%%:*} package=${pair##*:}
  command -v "$program" >/dev/null || [[ $program == /* && -e $program ]] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "slipway: install these packages as root, then run this again: ${missing[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi
if ! command -v apt-get >/dev/null; then
  echo "slipway: install these with your system's packages, then run this again: ${missing[*]}" >&2
  exit 1
fi

# A package that is being installed must not start a service: the tests start
# what they need themselves. policy-rc.d is Debian's way to say so.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
  "${sudo[@]}" chmod 755 $policy
  trap '"${sudo[@]}" rm -f $policy' EXIT
fi

apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
echo "installing Debian packages: ${missing[*]}"
"${apt[@]}" update -qq
# Since Debian 13 the engine's command is a package of its own.
if [[ " ${missing[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then
  missing+=(docker-cli)
fi
"${apt[@]}" --no-remove install -y -qq --no-install-recommends "${missing[@]}"
