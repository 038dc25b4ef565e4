# Shared by the scripts in this folder; they source it with the repo's root as working folder.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# install_packages FILE…: what the lists name and the machine lacks, with apt. Asks nothing, starts no service.
install_packages() {
  local missing=() package command
  while read -r package command; do
    case $package in '' | '#'*) continue ;; esac
    [ -n "$command" ] && command -v "$command" >/dev/null && continue
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done < <(cat "$@")
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "this needs Debian packages and found no apt-get: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "run as root, or install by hand: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing: ${missing[*]}"
  # In a shell of its own, so that what the machine had for policy-rc.d comes back whatever happens.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive bash -euc '
    policy=/usr/sbin/policy-rc.d
    saved=
    restore() {
      rm -f "$policy"
      [ -z "$saved" ] || mv "$saved" "$policy"
    }
    if [ -e "$policy" ]; then
      saved=$(mktemp "$policy.XXXXXX")
      mv "$policy" "$saved"
    fi
    trap restore EXIT
    trap "exit 1" INT TERM HUP
    printf "#!/bin/sh\nexit 101\n" >"$policy"
    chmod 755 "$policy"
    apt-get -q -o APT::Update::Error-Mode=any update || echo "apt-get update failed: going on with the lists that are here" >&2
    apt-get -q -y --no-install-recommends install "$@"
    # A broker that came for the tests must not take port 1883 at the next boot either.
    case " $* " in *" mosquitto "*) systemctl disable mosquitto >/dev/null 2>&1 || true ;; esac
  ' install "${missing[@]}" >&2
}

# build PRESET [cmake option…]
build() {
  local preset=$1
  shift
  mkdir -p "build/$preset"
  if ! cmake --preset "$preset" "$@" >"build/$preset/configure.log" 2>&1; then
    cat "build/$preset/configure.log" >&2
    die "cmake --preset $preset failed"
  fi
  cmake --build "build/$preset" -j "${DIOT_JOBS:-2}"
}
