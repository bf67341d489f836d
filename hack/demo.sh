#!/usr/bin/env bash
# Tells the whole story on this machine: starts the server; gets base images; builds
# examples/cool-app (base image, tests against PostgreSQL, app image) and publishes
# it; builds it again, where all is reused; changes one source file, where only the
# app is rebuilt; pulls with a real client and compares digests; runs the image
# against PostgreSQL and calls its API. Then it keeps serving until Ctrl-C.
#
#   make demo                  builds the programs first
#   DEMO_EXIT=1 make demo      ends after the last step
#   DEMO_FRESH=1 make demo     forgets earlier demos first
#   SLIPWAY_BIN                the program, bin/slipway
#
# Building images needs root. The client is the Docker Engine if one runs, else
# podman, with a store of its own. What it installs it says.
#
# The server's data stays in .build/demo for the next demo: compiling what the base
# image holds is the slow part, and need not be done twice. All else is in one
# temporary folder; the checkout is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
  cat >&2 <<'END'
demo: building images needs root, for namespaces, mounts and rules of the network. Run:
  sudo env PATH="$PATH" make demo
What serving alone takes needs no root: bin/slipway serve --data ./data
END
  exit 1
fi
export PATH=$PATH:/usr/sbin:/sbin
slipway=$(realpath "${SLIPWAY_BIN:-bin/slipway}")
# What these set, a server would take for its own.
for variable in ${!SLIPWAY_*}; do unset "$variable"; done

data=.build/demo/data
source=examples/cool-app
work=$(mktemp -d)
server=
containers=()
client=()
cleanup() {
  local code=$? id
  trap - EXIT
  trap '' INT TERM
  for id in "${containers[@]}"; do # one after the other: the last one needs those before
    "${client[@]}" rm --force --volumes "$id" >/dev/null 2>&1 || true
  done
  if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
    wait "$server" || code=$?
  fi
  if [ $code -ne 0 ] && [ $code -ne 130 ] && [ -s "$work/server.log" ]; then
    echo "the end of the server's log:" >&2
    grep -v 'msg=request' "$work/server.log" | tail -n 20 >&2 || true
  fi
  rm -rf "$work"
  exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM

begin=${EPOCHREALTIME/[.,]/}
step() { # prints a line with the seconds since the start
  local now=$((${EPOCHREALTIME/[.,]/} - begin))
  printf '[%3d.%d s] %s\n' $((now / 1000000)) $((now / 100000 % 10)) "$*"
}
section() { printf '\n== %s\n' "$*"; }
indent() { sed 's/^/          /'; }
fail() {
  echo "demo: $*" >&2
  exit 1
}
quietly() {
  "$@" >"$work/client.log" 2>&1 || fail "$*: $(tail -n 20 "$work/client.log")"
}

# request PORT METHOD PATH [JSON]: prints the answer, head and body. Without curl,
# which a fresh machine may lack.
request() {
  local port=$1 method=$2 path=$3 body=${4-}
  {
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '%s %s HTTP/1.0\r\nHost: 127.0.0.1:%s\r\nAccept: %s\r\nAccept: %s\r\nAccept: application/json\r\n' "$method" "$path" "$port" \
      application/vnd.oci.image.index.v1+json application/vnd.oci.image.manifest.v1+json >&3
    [ -z "$body" ] || printf 'Content-Type: application/json\r\nContent-Length: %s\r\n' "${#body}" >&3
    printf '\r\n%s' "$body" >&3
    tr -d '\r' <&3
    exec 3>&-
  } 2>/dev/null
}
answers() { [[ $(request "$1" GET /readyz) == HTTP/1.*" 200 "* ]]; }
await() { # SECONDS COMMAND…
  local i
  for ((i = 0; i < $1 * 5; i++)); do
    "${@:2}" && return
    sleep 0.2
  done
  return 1
}
free_port() { # the first one from $1 on that nobody listens on
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

section "What this needs"
hack/setup.sh runc:runc /usr/lib/cni/ptp:containernetworking-plugins iptables:iptables git:git
# An engine elsewhere would look for 127.0.0.1 there; podman in docker's clothes
# is podman.
if [[ ${DOCKER_HOST:-unix:} == unix:* ]] && docker version --format '{{.Server.Version}}' >/dev/null 2>&1 &&
  [[ $(docker --version) != *podman* ]]; then
  name=docker client=(docker)
  http=() limits=()
  digest_of='{{index .RepoDigests 0}}'
else
  hack/setup.sh podman:podman
  name=podman
  client=(podman --root "$work/podman/root" --runroot "$work/podman/run" --tmpdir "$work/podman/tmp"
    --storage-driver vfs --events-backend none --cgroup-manager cgroupfs --runtime runc)
  http=(--tls-verify=false)
  # Podman would raise them, which is more than root of a container may.
  limits=(--ulimit nofile=1024:1024 --ulimit nproc=4096:4096)
  digest_of='{{.Digest}}'
fi
step "root, runc, the plugins of the network, iptables, git; as a client: $name"

section "The server"
if [ "${DEMO_FRESH-}" = 1 ]; then
  step "forgetting earlier demos: rm -rf $data"
  rm -rf "$data"
fi
mkdir -p "$data"
port=$(free_port 5000)
[ "$port" = 5000 ] || echo "port 5000 is taken"
host=127.0.0.1:$port
flags=(--listen "$host" --data "$data")
# A machine with certificates of its own needs them for what builds fetch.
[ -z "${SSL_CERT_FILE-}" ] || flags+=(--ca-certificates "$SSL_CERT_FILE")
step "slipway serve ${flags[*]}"
"$slipway" serve "${flags[@]}" >"$work/server.log" 2>&1 &
server=$!
up() { answers "$port" || ! kill -0 "$server" 2>/dev/null; }
await 30 up || fail "the server is not ready after 30 s"
kill -0 "$server" 2>/dev/null || fail "the server ended by itself: $(tail -n 1 "$work/server.log")"
step "it is ready: http://$host"

section "Base images"
SLIPWAY_BIN=$slipway hack/base-images.sh "$host" >"$work/bases.log" 2>&1 &
bases=$!
tail --pid=$bases -n +1 -f "$work/bases.log" | sed -un 's/^base images: //p' | fold -s -w 100 | indent
wait $bases || fail "no base images: $(tail -n 5 "$work/bases.log")"
step "they are there"

# build FLAGS…: builds the copy of the example, and shows the log's main lines.
build() {
  step "slipway build cool-app --data $data${*:+ $*}"
  "$slipway" build "$work/cool-app" --data "$data" --progress plain "$@" 2>&1 | tee "$work/build.log" | shorten ||
    fail "the build failed; its last lines: $(tail -n 20 "$work/build.log")"
}
shorten() {
  local time line
  while read -r time line; do
    case $line in
    *' | '*) continue ;; # what a step prints
    '== Project' | '== Targets') continue ;;
    '== '* | *' verdict: '* | *'   because '* | *'] tests: '* | *'] coverage: '* | *' -> sha256:'* | *'(cached)' | *' done in '*) ;;
    \[*\]\ \[*/*\]*) ;;  # a step begins
    *) continue ;;
    esac
    line=$(sed -E 's/(sha256:[0-9a-f]{12})[0-9a-f]{52}/\1…/g' <<<"$line")
    [ ${#line} -le 108 ] || line=${line:0:107}…
    printf '          %s %s\n' "$time" "$line"
  done
}

section "First build: base image, tests against PostgreSQL, app image"
cp -r "$source" "$work/cool-app"
if "$slipway" tags "$host/cool-app-base" >/dev/null 2>&1; then
  step "an earlier demo left the base image: only tests and app are built, which --force asks for"
  build --force=test --force=app
else
  step "the base image compiles what the app needs; that takes minutes, and is done once"
  build
fi
verdict() { grep -qE "\[$1\] verdict: $2" "$work/build.log"; }

section "What the registry has"
step "slipway catalog $host; slipway tags $host/cool-app"
"$slipway" catalog "$host" | indent
"$slipway" tags "$host/cool-app" | paste -sd ' ' | indent

section "The same again: all is reused"
build
for target in base test app; do
  verdict $target reused || fail "$target was built again though nothing changed"
done

section "One source file changes: only tests and app are built"
file=internal/task/task.go
change="there is no such task, says the demo of $(date -u +%FT%TZ)"
step "in a copy of the example, $file: \"$change\""
sed -i "s/there is no such task/$change/" "$work/cool-app/$file"
build
verdict base reused || fail "base was built again though none of its inputs changed"
verdict app build && grep -qE "\[app\]   because file $file changed" "$work/build.log" || fail "the app was not built because of $file"
number=$(sed -n 's/.* == Run \([0-9]*\) of cool-app$/\1/p' "$work/build.log")
step "its log is kept: slipway logs cool-app/$number --data $data"

section "A real client pulls it"
ref=$host/cool-app:$number
step "$name pull $ref"
quietly "${client[@]}" pull "${http[@]}" "$ref"
pulled=$("${client[@]}" image inspect --format "$digest_of" "$ref")
pulled=${pulled##*@}
pushed=$(request "$port" HEAD "/v2/cool-app/manifests/$number" | sed -n 's/^docker-content-digest: //Ip')
step "digest at the server  $pushed"
step "digest at the client  $pulled"
[ -n "$pushed" ] && [ "$pushed" = "$pulled" ] || fail "the digests differ"

section "It runs, with PostgreSQL from the same server"
database=$host/docker.io/library/postgres:15
api=$(free_port 8080)
step "$name pull $database"
quietly "${client[@]}" pull "${http[@]}" "$database"
# The app is in the database's network, so that they find each other at loopback
# whatever names the client's network knows.
run() { # NAME ARGUMENTS…
  local id=slipway-demo-$$-$1
  containers=("$id" "${containers[@]}")
  quietly "${client[@]}" run --detach "${limits[@]}" --name "$id" "${@:2}"
}
step "$name run postgres:15; $name run cool-app:$number, with its API on port $api"
run db --publish "127.0.0.1:$api:8080" --env POSTGRES_USER=cool --env POSTGRES_PASSWORD=cool --env POSTGRES_DB=cool "$database"
run app --network "container:slipway-demo-$$-db" --read-only --cap-drop ALL \
  --env COOL_APP_DATABASE_URL=postgres://cool@127.0.0.1:5432/cool --env COOL_APP_DATABASE_PASSWORD=cool "$ref"
await 60 answers "$api" || fail "the app does not answer: $("${client[@]}" logs "slipway-demo-$$-app" 2>&1 | tail -n 5)"

call() { # STATUS METHOD PATH [JSON]
  local answer
  answer=$(request "$api" "${@:2}")
  step "$2 $3${4:+ $4}"
  { head -n 1 <<<"$answer"; sed '1,/^$/d' <<<"$answer"; } | indent
  [[ $answer == HTTP/1.*" $1 "* ]] || fail "$2 $3: $1 was expected"
}
call 201 POST /api/v1/tasks '{"title": "Buy milk", "due": "2026-12-01"}'
call 200 GET /api/v1/tasks
[[ $(request "$api" GET /api/v1/tasks) == *'"Buy milk"'* ]] || fail "the list lacks the task"
call 404 GET /api/v1/tasks/00000000-0000-0000-0000-000000000000
[[ $(request "$api" GET /api/v1/tasks/00000000-0000-0000-0000-000000000000) == *"$change"* ]] || fail "the answer is not that of the changed source"

section "Done"
if [ "${DEMO_EXIT-}" = 1 ]; then
  step "stopping"
  exit 0
fi
step "all of it serves until you press Ctrl-C"
cat <<END

  http://$host           the registry: docker push $host/NAME:TAG
  http://127.0.0.1:$api           cool-app: curl http://127.0.0.1:$api/api/v1/tasks
  bin/slipway build DIR --data $data
  bin/slipway logs cool-app --data $data

What was built stays in $data for the next demo; 'make clean' removes it.
END
trap 'exit 0' INT TERM
wait "$server"
