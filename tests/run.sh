#!/bin/sh
# Runs all tests on a Debian or Ubuntu with Rust and a C compiler: installs the Redis it compares with, builds once,
# runs every suite. Extra arguments go to `cargo test`.
#
# BASALT_DIFF_COMMANDS, BASALT_ATOMICITY_SECONDS, BASALT_REPLICATION_SECONDS, BASALT_TEST_SEED, BASALT_TEST_SERVER: see
# tests/differential/main.rs, tests/atomicity/main.rs, tests/replication_digests.rs and tests/common/mod.rs.
set -eu
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "tests/run.sh: needs root or sudo to install $missing; or install them yourself" >&2
        exit 1
    fi
}

missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v redis-cli >/dev/null && command -v redis-benchmark >/dev/null || missing="$missing redis-tools"
command -v redis-sentinel >/dev/null || missing="$missing redis-sentinel"

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "tests/run.sh: please install$missing; only apt-get is known here" >&2
        exit 1
    fi
    echo "tests/run.sh: installing$missing"
    # A package may start its service while it is installed; this file, where init scripts look, says no. One that is there
    # already is somebody's own and stays.
    policy=/usr/sbin/policy-rc.d
    ours=no
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        trap 'as_root rm -f "$policy"' EXIT INT TERM
    fi
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    # Nor shall it run after the next boot: it was only installed to be compared with.
    if command -v systemctl >/dev/null; then
        for service in $missing; do
            [ "$service" = redis-tools ] || as_root systemctl disable --quiet "$service" 2>/dev/null || true
        done
    fi
    if [ "$ours" = yes ]; then
        as_root rm -f "$policy"
        trap - EXIT INT TERM
    fi
fi

# Some tests hold 10 000 connections; the server and the test hold one end each.
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -H -n)" 2>/dev/null || true

log=$(mktemp)
trap 'rm -f "$log"' EXIT
start=$(date +%s)

echo "tests/run.sh: building"
cargo test --no-run "$@"

# One test at a time: several of them measure memory or wake-ups, and two processors are soon full. The suites of replication mostly
# wait, for links and for Sentinels: of those three at a time. Arguments say what to run, and then it is one at a time.
{
    status=0
    if [ $# -gt 0 ]; then
        RUST_TEST_THREADS=1 cargo test --no-fail-fast "$@" 2>&1 || status=$?
    else
        alone=--lib
        together=
        for file in tests/*.rs tests/*/main.rs; do
            suite=$(echo "$file" | sed -e 's,^tests/,,' -e 's,/main,,' -e 's,\.rs$,,')
            case $suite in
            replication* | sentinel) together="$together --test $suite" ;;
            *) alone="$alone --test $suite" ;;
            esac
        done
        # shellcheck disable=SC2086 # lists of options
        {
            RUST_TEST_THREADS=1 cargo test --no-fail-fast $alone 2>&1 || status=$?
            cargo test --doc 2>&1 || status=$?
            RUST_TEST_THREADS=3 cargo test --no-fail-fast $together 2>&1 || status=$?
        }
    fi
    echo "exit status $status"
} | tee "$log"
status=$(tail -n 1 "$log")
status=${status#exit status }

echo
echo "==== summary, after $(($(date +%s) - start)) s"
awk '
    /^ +Running / { suite = $2 == "unittests" ? $3 : $2 }
    /^ +Doc-tests / { suite = "doc-tests" }
    /^test result:/ { printf "%-32s %s %s passed, %s failed, %s ignored\n", suite, $3, $4, $6, $8; passed += $4; failed += $6 }
    /^test .* FAILED$/ { list = list "\n  " suite ": " $2 }
    END {
        printf "%-32s %d passed, %d failed\n", "all", passed, failed
        if (list != "") print "failed:" list
    }
' "$log"
if [ "$status" -ne 0 ]; then
    echo "==== FAILED"
    exit "$status"
fi
echo "==== passed"
