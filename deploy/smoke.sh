#!/usr/bin/env bash
# Asks a running Compose stack for a streamed answer; fails unless it arrives whole.
# Usage: deploy/smoke.sh [GATEWAY_URL]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

gateway=${1:-http://127.0.0.1:8080}
wait_s=180

until curl --fail --silent --output /dev/null --max-time 5 "$gateway/readyz"; do
    if ((SECONDS > wait_s)); then
        echo "the gateway is not ready after $wait_s s" >&2
        exit 1
    fi
    sleep 1
done

key=$(docker compose exec -T gateway cat /var/lib/millrace/dev-key)
answer=$(
    curl --fail --silent --show-error --no-buffer --max-time 60 "$gateway/v1/chat/completions" \
        --header "Authorization: Bearer $key" \
        --header "Content-Type: application/json" \
        --data '{"model": "millrace-demo", "stream": true,
                 "messages": [{"role": "user", "content": "How does a mill race work?"}]}'
)
if [[ $answer != *'"delta"'*'data: [DONE]'* ]]; then
    printf 'not a whole streamed answer:\n%s\n' "$answer" >&2
    exit 1
fi
echo "a streamed answer came through every hop"
