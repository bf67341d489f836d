#!/usr/bin/env bash
# Tests the examples on this machine, without building their images: cool-app
# against a temporary PostgreSQL, and greeter-py.
#   hack/test-examples.sh [GO TEST FLAGS]     such as -race
set -euo pipefail
cd "$(dirname "$0")/.."

hack/setup.sh /usr/share/postgresql-common/pg_wrapper:postgresql python3:python3
bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
[ -n "$bin" ] || { echo "hack/test-examples.sh: PostgreSQL's programs are not in /usr/lib/postgresql" >&2; exit 1; }

work=$(mktemp -d)
as=() # PostgreSQL does not run as root
if [ "$(id -u)" = 0 ]; then
  as=(setpriv --reuid=postgres --regid=postgres --init-groups)
  chown postgres: "$work"
fi
pg() { (cd "$work" && exec "${as[@]}" "$bin/$1" "${@:2}"); }
cleanup() {
  local code=$?
  [ ! -e "$work/data/postmaster.pid" ] || pg pg_ctl --pgdata "$work/data" --mode immediate --silent stop || true
  rm -rf "$work"
}
trap cleanup EXIT

# By socket only, so it needs no port, and nobody else can connect.
pg initdb --pgdata "$work/data" --username test --auth trust --no-sync >/dev/null
pg pg_ctl --pgdata "$work/data" --log "$work/log" --wait --silent \
  -o "-c listen_addresses='' -c unix_socket_directories='$work' -c fsync=off" start || { cat "$work/log" >&2; exit 1; }

out=$PWD/.build/examples/cool-app
export COOL_APP_TEST_REQUIRE=1 COOL_APP_TEST_DATABASE="postgres://test@/postgres?host=$work"
examples/cool-app/test.sh "$out" "$@"

out=$PWD/.build/examples/greeter-py
(cd examples/greeter-py && PYTHONDONTWRITEBYTECODE=1 python3 test.py "$out")
