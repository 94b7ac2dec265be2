# Shared by the `run` scripts of this folder: where a suite works, what it needs, how it ends.
#
# A suite is started as `interop/LANGUAGE/run [HOST [PORT [TEST]]]`; with TEST only the tests whose names contain it run. What
# it installs goes to `interop/.work/LANGUAGE` and is used again as long as the files that name it are unchanged. Its last line
# is `interop/LANGUAGE: N passed, N failed, N skipped`; the status is non-zero when something failed.

set -uo pipefail

# suite LANGUAGE [HOST [PORT [TEST]]]: sets language, here, work, only (TEST), AMQP_HOST, AMQP_PORT, AMQP_URL and
# INTEROP_BROKER. The last is the command that tests start and end brokers of their own with, and empty without the program
# that WARRENMQ_BINARY names; what they leave running is killed.
suite() {
    language=$1
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/$language" && pwd)
    work=$(dirname "$here")/.work/$language
    mkdir -p "$work"
    only=${4:-}
    export AMQP_HOST=${2:-127.0.0.1} AMQP_PORT=${3:-5672} INTEROP_BROKER=''
    own_brokers "$(dirname "$here")/broker"
    local authority=$AMQP_HOST
    [[ $authority == *:* ]] && authority="[$authority]"
    export AMQP_URL="amqp://guest:guest@$authority:$AMQP_PORT"
}

# own_brokers COMMAND: sets INTEROP_BROKER to the command where it can start a broker.
own_brokers() {
    [[ -x ${WARRENMQ_BINARY:-} ]] || return 0
    INTEROP_BROKERS=$(mktemp -d)
    export INTEROP_BROKER=$1 INTEROP_BROKERS
    trap end_own_brokers EXIT
}

# end_own_brokers: what a script that sets a trap of its own calls there.
end_own_brokers() {
    [[ -z $INTEROP_BROKER ]] || { "$INTEROP_BROKER" kill-all; rm -rf "$INTEROP_BROKERS"; }
}

say() { printf 'interop/%s: %s\n' "$language" "$*"; }

# finish PASSED FAILED SKIPPED: the line a caller reads, and the exit status that goes with it.
finish() {
    say "$1 passed, $2 failed, $3 skipped"
    [[ $2 -eq 0 ]]
    exit
}

# skip WHAT: the machine cannot run this suite; that is no failure.
skip() {
    say "skipped: no $1"
    finish 0 0 1
}

# need TOOL…: skips the suite unless every tool is on the path.
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$tool"
    done
}

# install FILES… -- COMMAND…: runs the command, at most three times, unless it has succeeded with these very files before.
install() {
    local files=() digest attempt
    while [[ $1 != -- ]]; do files+=("$1"); shift; done
    shift
    digest=$(cat "${files[@]}" | sha256sum)
    [[ -f $work/installed && $(<"$work/installed") == "$digest" ]] && return
    for attempt in 1 2 3; do
        say "installing (attempt $attempt)"
        if "$@" >"$work/install.log" 2>&1; then
            echo "$digest" >"$work/installed"
            return
        fi
        sleep 2
    done
    tail -n 30 "$work/install.log"
    say "installation failed"
    finish 0 1 0
}

# debian PACKAGE…: unpacks Debian's packages, with what they need and the system has not, below $work/root. The system stays
# as it is.
debian() {
    local missing
    missing=$(apt-get --simulate --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p') ||
        { apt-get update && missing=$(apt-get --simulate --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p'); } ||
        return
    (
        cd "$work" && rm -rf -- *.deb root && mkdir root && cd root || exit
        # The lists that a machine was made with may name versions that are no longer there.
        [[ -z $missing ]] || apt-get download $missing || { apt-get update && apt-get download $missing; } || exit
        for package in ./*.deb; do
            [[ ! -f $package ]] || { dpkg -x "$package" . && rm "$package"; } || exit
        done
    )
}

# unpacked: programs and libraries of `debian` are found before those of the system.
unpacked() {
    PATH=$work/root/usr/bin:$PATH
    LD_LIBRARY_PATH=$work/root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
    export PATH LD_LIBRARY_PATH
}

# limited SECONDS COMMAND…: shows the command's output, without colours, and keeps it in $work/output; a command that hangs is
# ended. Sets status, its exit status.
limited() {
    local seconds=$1
    shift
    timeout --kill-after=5 "$seconds" "$@" </dev/null 2>&1 | sed -u 's/\x1b\[[0-9;]*m//g' | tee "$work/output"
    status=${PIPESTATUS[0]}
    [[ $status -ne 124 && $status -ne 137 ]] || say "ended after $seconds s without a result"
}

# count PATTERN: how many lines of the last command's output match the extended regular expression.
count() { grep -Ec -- "$1" "$work/output"; }

# finish_counted PASSED FAILED SKIPPED: as `finish`, but a command that failed without naming a test is a failure too.
finish_counted() {
    local failed=$2
    [[ $status -eq 0 || $failed -gt 0 ]] || failed=1
    finish "$1" "$failed" "$3"
}

# restartable: a broker that tests restart while their framework runs on it. Sets AMQP_RESTART, a command that does it and ends when
# it listens again, and AMQP_RESTART_PORT. A caller may give both; otherwise it is one of the suite's own. With neither, such tests
# are skipped.
restartable() {
    [[ -z ${AMQP_RESTART:-} && -n $INTEROP_BROKER ]] || return 0
    AMQP_RESTART_PORT=$("$INTEROP_BROKER" start restarted) || { say 'the broker that tests restart did not start'; finish 0 1 0; }
    export AMQP_RESTART="'$INTEROP_BROKER' stop restarted && '$INTEROP_BROKER' start restarted" AMQP_RESTART_PORT
}
