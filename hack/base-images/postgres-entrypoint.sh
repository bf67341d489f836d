#!/bin/bash
# Starts PostgreSQL, and makes the database at the first start. It understands the
# variables that people set for docker.io/library/postgres:
#   POSTGRES_PASSWORD           required, unless POSTGRES_HOST_AUTH_METHOD=trust
#   POSTGRES_USER               postgres
#   POSTGRES_DB                 the user's name
#   POSTGRES_INITDB_ARGS        more arguments for initdb
#   POSTGRES_HOST_AUTH_METHOD   scram-sha-256
#   PGDATA                      /var/lib/postgresql/data
# The first three may be given as NAME_FILE, too. At the first start it also runs
# /docker-entrypoint-initdb.d/*.sh and *.sql.
set -euo pipefail

[[ ${1-} != -* ]] || set -- postgres "$@"
if [ "${1-}" != postgres ]; then
  exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
  # A new volume, or the container's own file system, belongs to root.
  mkdir -p "$PGDATA" /var/run/postgresql
  find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

from_file() { # NAME: takes its value from the file that NAME_FILE names
  local file=${1}_FILE
  if [ -n "${!file-}" ]; then
    [ -z "${!1-}" ] || { echo "set $1 or $file, not both" >&2; exit 1; }
    export "$1=$(<"${!file}")"
    unset "$file"
  fi
}

initialize() {
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER
  from_file POSTGRES_DB
  local user=${POSTGRES_USER:-postgres} method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  local db=${POSTGRES_DB:-$user}
  if [ -z "${POSTGRES_PASSWORD-}" ] && [ "$method" != trust ]; then
    echo "the database is new and POSTGRES_PASSWORD is not set: set it, or POSTGRES_HOST_AUTH_METHOD=trust to let everybody in" >&2
    exit 1
  fi
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  eval 'initdb --username="$user" --pwfile=<(printf "%s\n" "${POSTGRES_PASSWORD:-none}") '"${POSTGRES_INITDB_ARGS-}"
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # By socket only: nobody else may connect before it is complete.
  pg_ctl --wait --silent -o "-c listen_addresses=''" start
  local sql=(psql --username "$user" --no-password --no-psqlrc -v ON_ERROR_STOP=1)
  if [ "$db" != postgres ]; then
    "${sql[@]}" --dbname postgres -v name="$db" <<<'CREATE DATABASE :"name"'
  fi
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
    *.sh) PGUSER=$user PGDATABASE=$db bash "$file" ;;
    *.sql) "${sql[@]}" --dbname "$db" --file "$file" ;;
    esac
  done
  pg_ctl --wait --silent --mode fast stop
}

[ -s "$PGDATA/PG_VERSION" ] || initialize
unset POSTGRES_PASSWORD

# SIGTERM would wait for every client to go; SIGINT ends their connections.
"$@" &
server=$!
trap 'kill -INT $server 2>/dev/null' TERM INT
code=0
while kill -0 $server 2>/dev/null; do
  wait $server && code=0 || code=$?
done
exit $code
