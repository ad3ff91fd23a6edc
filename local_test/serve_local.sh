#!/bin/sh
# Serve the model that train_local.sh made, on port 8080:  serve_local.sh IMAGE [FOLDER]
#
# Ask it with predict.sh from another terminal; Ctrl-C ends it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
image=${1:?usage: serve_local.sh IMAGE [FOLDER]}
opt_ml=$(cd "${2:-$here/opt_ml}" && pwd)

exec docker run --rm --user "$(id -u):$(id -g)" --publish "127.0.0.1:${PORT:-8080}:8080" \
    --volume "$opt_ml:/opt/ml" "$image" serve
