#!/usr/bin/env bash
# Shows what a registry is for, on this machine and in under a minute: starts one,
# makes an image from Debian's busybox, pushes it, lists it, deletes the local copy,
# pulls it back and compares digests. Then it keeps serving until Ctrl-C.
#
#   make demo                  builds first
#   DEMO_EXIT=1 make demo      ends after the last step
#
# It uses the Docker Engine if one runs, else podman, with a store of its own.
# What it installs it says. All its files are in one temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
cleanup() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "${ref-}" ] && [ -n "${client-}" ]; then
    "${client[@]}" image rm --force "$ref" >/dev/null 2>&1 || true
  fi
  if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
    wait "$server" || code=$?
  fi
  if [ $code -ne 0 ] && [ $code -ne 130 ] && [ -s "$work/server.log" ]; then
    echo "the server's log:" >&2
    tail -n 30 "$work/server.log" >&2
  fi
  rm -rf "$work" 2>/dev/null || podman unshare rm -rf "$work"
  exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM

begin=${EPOCHREALTIME/[.,]/}
step() { # prints a line with the seconds since the start
  local now=$((${EPOCHREALTIME/[.,]/} - begin))
  printf '[%3d.%d s] %s\n' $((now / 1000000)) $((now / 100000 % 10)) "$*"
}
fail() {
  echo "demo: $*" >&2
  exit 1
}

# request METHOD PATH: prints the answer's head. Without curl, which a fresh
# machine may lack.
request() {
  local line
  {
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '%s %s HTTP/1.0\r\nHost: %s\r\nAccept: %s\r\nAccept: %s\r\n\r\n' "$1" "$2" "$host" \
      application/vnd.oci.image.manifest.v1+json application/vnd.docker.distribution.manifest.v2+json >&3
    while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do
      echo "${line%$'\r'}"
    done
    exec 3>&-
  } 2>/dev/null
}
ready() { [[ $(request GET /readyz) == HTTP/1.*" 200 "* ]]; }

port=5000
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  echo "port $port is taken, trying the next one"
  port=$((port + 1))
done
host=127.0.0.1:$port
url=http://$host
ref=$host/demo/busybox:1

step "starting the registry: bin/slipway serve --listen $host"
bin/slipway serve --listen "$host" --data "$work/data" >"$work/server.log" 2>&1 &
server=$!
for ((i = 0; i < 150; i++)); do
  ready && break
  kill -0 "$server" 2>/dev/null || fail "the registry ended by itself"
  sleep 0.1
done
ready || fail "the registry is not ready after 15 s"
step "it is ready: $url"

# An engine elsewhere would look for 127.0.0.1 there; podman in docker's clothes
# is podman.
if [[ ${DOCKER_HOST:-unix:} == unix:* ]] && docker version --format '{{.Server.Version}}' >/dev/null 2>&1 &&
  [[ $(docker --version) != *podman* ]]; then
  name=docker
  client=(docker)
  http=()
  digest_of='{{index .RepoDigests 0}}'
else
  hack/setup.sh podman:podman
  name=podman
  client=(podman --root "$work/podman/root" --runroot "$work/podman/run" --tmpdir "$work/podman/tmp"
    --storage-driver vfs --events-backend none --cgroup-manager cgroupfs)
  http=(--tls-verify=false)
  digest_of='{{.Digest}}'
fi

mkdir -p "$work/deb" "$work/rootfs"
if command -v apt-get >/dev/null && (cd "$work/deb" && apt-get download busybox-static) >"$work/apt.log" 2>&1; then
  dpkg-deb -x "$work"/deb/*.deb "$work/rootfs"
  command=/bin/busybox
  step "making an image of $(basename "$work"/deb/*.deb) with $name"
else
  cp bin/slipway "$work/rootfs/"
  command=/slipway
  step "no Debian packages here: making an image of bin/slipway with $name"
fi
tar -C "$work/rootfs" --owner=0 --group=0 -cf "$work/rootfs.tar" .
"${client[@]}" import --change "ENTRYPOINT [\"$command\"]" "$work/rootfs.tar" "$ref" >/dev/null 2>"$work/client.log" ||
  fail "$name import: $(cat "$work/client.log")"

local_digest() {
  local d
  d=$("${client[@]}" image inspect --format "$digest_of" "$ref")
  echo "${d##*@}"
}
quietly() {
  "$@" >"$work/client.log" 2>&1 || fail "$*: $(cat "$work/client.log")"
}

step "pushing it: $name push $ref"
quietly "${client[@]}" push "${http[@]}" "$ref"
step "what the registry has: slipway catalog $host; slipway tags $host/demo/busybox"
bin/slipway catalog "$host" | sed 's/^/             /'
bin/slipway tags "$host/demo/busybox" | sed 's/^/             /'
pushed=$(request HEAD /v2/demo/busybox/manifests/1 | sed -n 's/^docker-content-digest: //Ip')
[ -n "$pushed" ] || fail "the registry does not know $ref"
step "pushed digest $pushed"

step "deleting the local copy: $name image rm $ref"
quietly "${client[@]}" image rm --force "$ref"
! "${client[@]}" image inspect "$ref" >/dev/null 2>&1 || fail "$name still has $ref"
step "pulling it back: $name pull $ref"
quietly "${client[@]}" pull "${http[@]}" "$ref"
pulled=$(local_digest)
step "pulled digest $pulled"
[ "$pushed" = "$pulled" ] || fail "the digests differ"
step "the same at both ends"

if [ "${DEMO_EXIT-}" = 1 ]; then
  step "stopping the registry"
  exit 0
fi
cat <<END

The registry serves at $url until you press Ctrl-C. Try:
  docker push $host/NAME:TAG
  bin/slipway catalog $host
It is for this demo only: its images go when it ends.
END
trap 'exit 0' INT TERM
wait "$server"
