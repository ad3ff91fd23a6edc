#!/bin/sh
# Ask the server that serve_local.sh started:  predict.sh PAYLOAD [CONTENT_TYPE]
#
# Without a content type, the payload's name tells it. ACCEPT asks for another form of answer:
#   ACCEPT=text/csv predict.sh payloads/payload.csv
set -eu
payload=${1:?usage: predict.sh PAYLOAD [CONTENT_TYPE]}
type=${2:-}
[ -n "$type" ] || case $payload in
    *.csv) type=text/csv ;;
    *.json) type=application/json ;;
    *.jsonl) type=application/jsonlines ;;
    *.npy) type=application/x-npy ;;
    *) type=application/x-recordio-protobuf ;;
esac
url=http://localhost:${PORT:-8080}
# A server that is still starting is waited for, 20 seconds at most.
curl --silent --output /dev/null --retry 20 --retry-all-errors --retry-delay 1 "$url/ping" || true
curl --silent --show-error --fail-with-body --data-binary "@$payload" \
    --header "Content-Type: $type" --header "Accept: ${ACCEPT:-application/json}" \
    "$url/invocations"
echo
