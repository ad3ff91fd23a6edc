#!/bin/sh
# Train on several hosts, each a container on a network of their own:
#
#   train_hosts.sh IMAGE [N [FOLDER]]
#
# FOLDER is opt_ml beside this script unless given, as of train_local.sh; all hosts have its data,
# and each reads a share. The model comes out in FOLDER/model. N is 2 unless given.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
image=${1:?usage: train_hosts.sh IMAGE [N [FOLDER]]}
n=${2:-2}
opt_ml=$(cd "${3:-$here/opt_ml}" && pwd)

network=onepass-$$
hosts=$(mktemp -d)
finish() {
    for i in $(seq "$n"); do docker rm --force "$network-$i" >/dev/null 2>&1 || true; done
    docker network rm "$network" >/dev/null 2>&1 || true
    rm -rf "$hosts"
}
trap finish EXIT

mkdir -p "$opt_ml/model" "$opt_ml/output"
rm -rf "$opt_ml"/model/* "$opt_ml"/output/*
docker network create "$network" >/dev/null
names=$(seq -f '"algo-%g"' -s ', ' "$n")
for i in $(seq "$n" -1 1); do
    config=$hosts/$i/config
    mkdir -p "$config" "$hosts/$i/output"
    cp "$opt_ml"/input/config/* "$config"
    printf '{"current_host": "algo-%s", "hosts": [%s], "network_interface_name": "eth0"}\n' \
        "$i" "$names" >"$config/resourceconfig.json"
    output=$hosts/$i/output
    [ "$i" = 1 ] && output=$opt_ml/output
    docker run --detach --name "$network-$i" --network "$network" --network-alias "algo-$i" \
        --user "$(id -u):$(id -g)" --volume "$opt_ml/input/data:/opt/ml/input/data:ro" \
        --volume "$config:/opt/ml/input/config:ro" --volume "$output:/opt/ml/output" \
        --volume "$opt_ml/model:/opt/ml/model" "$image" train >/dev/null
done
docker logs --follow "$network-1"
code=0
for i in $(seq "$n"); do
    ended=$(docker wait "$network-$i")
    echo "algo-$i ended with exit code $ended"
    [ "$ended" = 0 ] || code=$ended
done
exit "$code"
