#!/bin/sh
# Makes Docker, Podman and containerd of this machine trust one registry whose
# certificate comes from a private authority. Its server wrote this file, with
# the authority's fingerprint in it. 'slipway trust' does the same and more.
set -eu

host='@HOST@'
url='@URL@'
fingerprint='@FINGERPRINT@'

fail() {
  printf 'slipway trust %s: %s\n' "$host" "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# fetch writes what the registry serves. Nobody has verified the connection:
# what comes counts only for its hash.
fetch() {
  if have curl; then
    curl -gkfsS --max-time 30 "$url/trust/ca.crt"
  elif have wget; then
    wget -q -T 30 --no-check-certificate -O - "$url/trust/ca.crt"
  else
    fail 'neither curl nor wget is installed: install one of them'
  fi
}

# one_certificate keeps the first certificate of what it reads, and nothing
# else, so that what is hashed is all that is written. It fails if there is a
# line in it that is not base64.
one_certificate() {
  tr -d '\r' | awk '
    /^-----BEGIN CERTIFICATE-----$/ && !inside { inside = 1; print; next }
    inside && /^-----END CERTIFICATE-----$/ { print; whole = 1; exit }
    inside && (last || $0 !~ /^[A-Za-z0-9+\/]+=?=?$/) { exit }
    inside { print; if ($0 ~ /=$/) last = 1 }
    END { exit !whole }'
}

decode() {
  if have base64; then base64 -d; else openssl base64 -d; fi
}

sha256() {
  if have sha256sum; then
    sha256sum
  elif have shasum; then
    shasum -a 256
  else
    openssl dgst -sha256 -r
  fi | cut -d ' ' -f 1
}

# root runs a command with the rights that the system's folders need.
root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

# put makes a file of its standard input, at once, unless it is that already.
put() {
  cat >"$tmp/new"
  if root cmp -s "$tmp/new" "$1"; then
    printf 'there    %s\n' "$1"
    return
  fi
  root mkdir -p "$(dirname "$1")"
  root cp "$tmp/new" "$1.slipway-new"
  root chmod 644 "$1.slipway-new"
  root mv -f "$1.slipway-new" "$1"
  printf 'written  %s\n' "$1"
}

mark="# Written by 'slipway trust $host'; 'slipway trust --undo $host' takes it back."

# certificate puts the authority into a folder, beside a ca.crt of others.
certificate() {
  ca=$1/ca.crt
  if root test -e "$ca" && [ "$(root head -n 1 "$ca")" != "$mark" ] && ! root cmp -s "$tmp/ca.crt" "$ca"; then
    ca=$1/slipway.crt
  fi
  { printf '%s\n' "$mark"; cat "$tmp/ca.crt"; } >"$tmp/marked"
  if root cmp -s "$tmp/ca.crt" "$ca"; then
    printf 'there    %s\n' "$ca"
  else
    put "$ca" <"$tmp/marked"
  fi
}

main() {
  if [ "$(id -u)" != 0 ] && ! have sudo; then
    fail 'the folders of Docker and Podman are root'"'"'s: run it as root'
  fi
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  fetch >"$tmp/fetched" || fail "$url/trust/ca.crt cannot be fetched: is the registry running there?"
  one_certificate <"$tmp/fetched" >"$tmp/ca.crt" || fail "$url/trust/ca.crt is no certificate"
  sed '/^-----/d' "$tmp/ca.crt" | decode >"$tmp/ca.der" || fail "$url/trust/ca.crt is no certificate"
  got=sha256:$(sha256 <"$tmp/ca.der")
  if [ "$got" != "$fingerprint" ]; then
    fail "what came is not the registry's authority; nothing was written.
  expected $fingerprint
  got      $got
Somebody may be in between, or the server has a new authority: compare with what it printed at its start."
  fi

  certificate "/etc/docker/certs.d/$host"
  certificate "/etc/containers/certs.d/$host"
  echo 'Docker, Podman, Buildah and Skopeo read these at each request: nothing is to be restarted.'
  if have containerd || [ -e /etc/containerd ]; then
    certificate "/etc/containerd/certs.d/$host"
    hosts=/etc/containerd/certs.d/$host/hosts.toml
    if ! root test -e "$hosts" || [ "$(root head -n 1 "$hosts")" = "$mark" ]; then
      put "$hosts" <<END
$mark
server = "https://$host"

[host."https://$host"]
  ca = "$ca"
END
    else
      printf 'left     %s: add to its host table: ca = "%s"\n' "$hosts" "$ca"
    fi
    if ! grep -qs -e 'config_path.*/etc/containerd/certs\.d' -e '^disabled_plugins.*cri' /etc/containerd/config.toml; then
      echo 'containerd for Kubernetes, before 2.2: set config_path = "/etc/containerd/certs.d" in /etc/containerd/config.toml once, then: systemctl restart containerd'
    fi
  fi
  for rancher in k3s rke2; do
    if [ -e "/etc/rancher/$rancher" ]; then
      cat <<END
$rancher: put this into /etc/rancher/$rancher/registries.yaml, then restart $rancher:
configs:
  "$host":
    tls:
      ca_file: /etc/containers/certs.d/$host/ca.crt
END
    fi
  done
  if have buildkitd || [ -e /etc/buildkit ]; then
    cat <<END
BuildKit: put this into /etc/buildkit/buildkitd.toml, then: systemctl restart buildkit
[registry."$host"]
  ca = ["/etc/containers/certs.d/$host/ca.crt"]
END
  fi
  if [ -e /etc/docker/daemon.json ] && grep -q 'insecure-registries' /etc/docker/daemon.json; then
    echo "/etc/docker/daemon.json has insecure-registries: $host needs none of it"
  fi
}

main "$@"
