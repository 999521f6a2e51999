#!/bin/sh
# Installs the packages of docker/packages.txt for the purposes named on the command line (build,
# bench, run, test, lint), those that are missing and belong on this machine. Needs root or sudo
# only when something is missing.
set -eu

here=$(dirname "$0")
# shellcheck source=/dev/null
distribution=$(. /etc/os-release && echo "$ID")
architecture=$(dpkg --print-architecture)

wanted() { # ONLY: does a line with this third column count here?
    case $1 in
        '') return 0 ;;
        '!'*) [ "${1#!}" != "$architecture" ] ;;
        *) [ "$1" = "$architecture" ] || [ "$1" = "$distribution" ] ;;
    esac
}

missing=
for purpose in "$@"; do
    while read -r what package only; do
        if [ "$what" != "$purpose" ] || ! wanted "$only"; then
            continue
        fi
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
            ii*) ;;
            *) missing="$missing $package" ;;
        esac
    done <"$here/packages.txt"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get -q update
# shellcheck disable=SC2086 # one word per package
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
