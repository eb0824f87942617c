# shellcheck shell=sh
# Shared by the scripts of this directory (POSIX sh, to be sourced): messages, packages, Python.

say() {
    printf '==> %s\n' "$*" >&2
}

fail() { # message, hint
    printf 'Error: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# Run a command as root: directly, or by sudo where it is installed and either asks nothing or can ask a terminal.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 1
    fi
}

# Have the program of a Debian package without installing the package, for those that would start a service of the
# machine: unpacked below the directory $1. Prints the directory of the program.
want_unpacked() { # directory, package
    if ! command -v "$2" >/dev/null 2>&1 && [ ! -x "$1/usr/bin/$2" ] && command -v apt-get >/dev/null 2>&1; then
        say "unpacking $2"
        mkdir -p "$1"
        (cd "$1" && rm -f ./*.deb && apt-get -qq download "$2" >&2 && dpkg -x ./*.deb . && rm -f ./*.deb) ||
            say "cannot download $2; going on without it"
    fi
    printf '%s\n' "$1/usr/bin"
}

# The names among the arguments that are not installed as Debian packages.
missing_packages() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
        installed) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

# Install what is missing of the named Debian packages; without a way to do that, name it and go on.
want_packages() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "this is not Debian or Ubuntu; these packages (or what they are called here) are wanted: $*"
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    say "installing system packages: $missing"
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2; then
        say "cannot install packages here (no root, no sudo, or no package server); going on without: $missing"
        return 0
    fi
    # One by one after a failure: an older release may lack one of them, and the others are still wanted.
    # shellcheck disable=SC2086  # the list is meant to be split
    install_packages $missing || for package in $missing; do
        install_packages "$package" || say "cannot install $package; going on without it"
    done
}

install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" </dev/null >/dev/null
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Print the path of a Python >= 3.11 that can make virtual environments. The system's own comes first: the one found
# first in PATH may live in a home directory that other users cannot enter.
find_python() {
    for candidate in /usr/bin/python3 /usr/bin/python3.14 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 \
        "$(command -v python3 || true)"; do
        if [ -x "$candidate" ] && is_new_enough "$candidate" && "$candidate" -c 'import ensurepip' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Make sure of a Python for virtual environments and print its path.
want_python() {
    find_python && return 0
    want_packages python3 python3-venv
    find_python && return 0
    # A release whose python3 is older (Ubuntu 22.04) has a newer one beside it.
    want_packages python3.11 python3.11-venv
    find_python || fail "cannot find Python 3.11 or newer with its venv module" "apt install python3 python3-venv"
}

# Make the virtual environment $2 with the Python $1, unless it is there and whole.
make_venv() {
    "$2/bin/python" -c 'import pip' 2>/dev/null && is_new_enough "$2/bin/python" && return 0
    say "making a virtual environment in $2"
    mkdir -p "$(dirname "$2")"
    "$1" -m venv --clear "$2"
}

# pip, quiet, and without a word about its own updates.
pip_install() { # venv, arguments
    venv=$1
    shift
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install "$@" ||
        fail "cannot install Python packages with pip" "is PyPI reached from here? (https_proxy, pip config)"
}
