#!/bin/sh
# Runs before the first package is unpacked; $1 is the root file system.
# Images need no manuals. PostgreSQL's compiler for queries would bring all of
# LLVM; without it PostgreSQL works as well, jit is off.
set -eu
mkdir -p "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/apt/apt.conf.d"
cat >"$1/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/lib/postgresql/*/lib/bitcode/*
path-exclude /usr/lib/postgresql/*/lib/llvmjit*
path-exclude /usr/lib/llvm-*/*
path-exclude /usr/lib/*/libLLVM*
path-exclude /usr/lib/*/libz3*
END
cat >"$1/etc/apt/apt.conf.d/slim" <<'END'
APT::Install-Recommends "false";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
END
