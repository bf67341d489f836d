#!/usr/bin/env bash
# The whole test suite; `make test` runs it. It installs what it needs, runs every
# stage even after a failure, and ends with go test's own line for each package.
# The exit code is 0 only if everything passed.
#
#   SLIPWAY_TEST_LONG=1   long variants, and every fuzz target for FUZZTIME
#   STAGES="unit e2e"     only these: setup static lint unit examples e2e fuzz
set -euo pipefail
cd "$(dirname "$0")/.."

stages=${STAGES:-setup static lint unit examples e2e}
limit=15m
if [ "${SLIPWAY_TEST_LONG-}" = 1 ]; then
  stages=${STAGES:-setup static lint unit examples e2e fuzz}
  limit=120m
fi
# A test that this machine cannot run is a failure here, never a skip.
export SLIPWAY_TEST_REQUIRE=1
export PATH=$PATH:/usr/sbin:/sbin

mkdir -p .build
log=.build/test.log
: >"$log"
failed=()

gotest() { go test -timeout "$limit" "$@" 2>&1 | tee -a "$log"; }

setup() {
  hack/setup.sh tests
  hack/tools.sh
  # What tests that have no network find ready: builders, and a container's system.
  # Go builds again only what changed.
  hack/buildkitd.sh .build
  hack/image-builder.sh system
}

static() {
  local unformatted
  unformatted=$(gofmt -l cmd examples internal test)
  if [ -n "$unformatted" ]; then
    printf 'not formatted, run make fmt:\n%s\n' "$unformatted" >&2
    return 1
  fi
  go vet ./...
  hack/generated.sh
  # The client half of the program also runs elsewhere.
  local os
  for os in darwin windows; do
    CGO_ENABLED=0 GOOS=$os go build -o /dev/null ./cmd/slipway
  done
}

lint() {
  hack/tools.sh golangci-lint
  .build/tools/golangci-lint run ./...
}

# The projects in examples/ by their own tests, as their authors run them.
examples() { hack/test-examples.sh; }

unit() { gotest -race ./cmd/... ./internal/...; }

# The server itself runs under the race detector while real clients use it. The
# other packages measure time, so they get the program as it is released. -count=1,
# because the cache knows nothing of the server; -v, to see the suite's counts.
e2e() {
  local code=0 list others
  list=$(go list ./test/...)
  # The longest first, so that the others run beside it.
  mapfile -t others < <(grep -E '/test/examples$' <<<"$list"; grep -vE '/test/(conformance|clients|examples)$' <<<"$list")
  gotest -race -count=1 -v ./test/conformance || code=1
  gotest -race -count=1 ./test/clients || code=1
  gotest -count=1 "${others[@]}" || code=1
  return $code
}

fuzz() { hack/fuzz.sh "${FUZZTIME:-10s}"; }

begin=$SECONDS
for stage in $stages; do
  echo "== $stage"
  start=$SECONDS
  # In a subshell with -e of its own: in an `if` it would be without effect.
  set +e
  (
    set -e
    "$stage"
  )
  code=$?
  set -e
  [ $code -eq 0 ] || failed+=("$stage")
  echo "== $stage: $((SECONDS - start)) s, exit code $code"
done

echo "== summary: $((SECONDS - begin)) s"
grep -E '^(ok|FAIL|panic:|--- FAIL:)[[:space:]]' "$log" || true
if [ ${#failed[@]} -gt 0 ]; then
  echo "FAIL	${failed[*]}"
  exit 1
fi
