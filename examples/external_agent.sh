#!/usr/bin/env bash
# An external agent: claims beads over HTTP and has a command of yours do them.
#
#   ARBITER_URL=http://127.0.0.1:8080 ARBITER_TOKEN=arb_… examples/external_agent.sh ./work
#
# The token is that of an agent of kind `external` (`arbiter token add NAME --role agent --agent ID`). The
# command gets the bead as JSON on standard input; its output becomes the summary. If it fails, the bead is
# blocked until a person looks at it. ARBITER_BEADS is the number of beads to do (default: no end),
# ARBITER_TTL_SEC the lease's duration without a heartbeat in seconds (10 to 3600, default 60).
set -euo pipefail

fail() {
    echo "error: $*" >&2
    exit 1
}

[ $# -gt 0 ] || fail "no command given; usage: external_agent.sh COMMAND [ARGUMENT…]"
[ -n "${ARBITER_URL:-}" ] || fail "ARBITER_URL is not set"
[ -n "${ARBITER_TOKEN:-}" ] || fail "ARBITER_TOKEN is not set"
for program in curl python3; do
    command -v "$program" >/dev/null || fail "$program is not installed"
done

ttl="${ARBITER_TTL_SEC:-60}"
left="${ARBITER_BEADS:--1}"
scratch=$(mktemp -d)
worker=
trap '[ -z "$worker" ] || kill "$worker" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# Posts the JSON document $2 to the path $1: the answer is in $scratch/answer, its status is printed. The token
# goes through standard input, since arguments are visible to other users.
post() {
    printf 'header = "Authorization: Bearer %s"\n' "$ARBITER_TOKEN" |
        curl --silent --show-error --config - --header 'Content-Type: application/json' \
            --data-binary "$2" --output "$scratch/answer" --write-out '%{http_code}' \
            "$ARBITER_URL/api/v1/$1" || fail "could not reach $ARBITER_URL"
}

# Prints the value at the path given as arguments of the JSON in the file $1.
field() {
    python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2:]:
    value = value[name]
print(value if isinstance(value, str) else json.dumps(value))
' "$@"
}

# Prints a JSON object of the names and strings given as arguments.
object() {
    python3 -c '
import json, sys
print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2]))))
' "$@"
}

# Fails unless the status $1 is 200.
expect_ok() {
    [ "$1" = 200 ] || fail "$2 was answered with $1: $(cat "$scratch/answer")"
}

# Renews the lease; the bead is lost if that fails.
heartbeat() {
    status=$(post "beads/$1/heartbeat" "$(object lease_token "$2")")
    expect_ok "$status" "the heartbeat of $1"
    echo "$1: lease renewed until $(field "$scratch/answer" expires_at)" >&2
}

while [ "$left" -ne 0 ]; do
    status=$(post beads/claim "{\"wait_sec\": 30, \"ttl_sec\": $ttl}")
    [ "$status" = 204 ] && continue # no bead became ready within 30 seconds
    expect_ok "$status" "the claim"
    field "$scratch/answer" bead >"$scratch/bead"
    bead=$(field "$scratch/bead" id)
    token=$(field "$scratch/answer" lease token)
    echo "$bead: claimed" >&2

    "$@" <"$scratch/bead" >"$scratch/summary" &
    worker=$!
    heartbeat "$bead" "$token"
    beat_at=$((SECONDS + ttl / 3))
    while kill -0 "$worker" 2>/dev/null; do
        if [ "$SECONDS" -ge "$beat_at" ]; then
            heartbeat "$bead" "$token"
            beat_at=$((SECONDS + ttl / 3))
        fi
        sleep 0.2
    done

    if wait "$worker"; then
        worker=
        body=$(object lease_token "$token" summary "$(cat "$scratch/summary")")
        status=$(post "beads/$bead/complete" "$body")
        expect_ok "$status" "the completion of $bead"
        echo "$bead: completed" >&2
    else
        worker=
        body=$(object lease_token "$token" reason "the command failed")
        status=$(post "beads/$bead/block" "$body")
        expect_ok "$status" "the block of $bead"
        echo "$bead: blocked" >&2
    fi
    left=$((left - 1))
done
