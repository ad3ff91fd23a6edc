#!/bin/sh
# Train on a fake /opt/ml:  train_local.sh IMAGE [FOLDER]
#
# FOLDER is opt_ml beside this script unless given, which holds a small sample. For your own data,
# put RecordIO-protobuf files into FOLDER/input/data/train and set k and feature_dim in
# FOLDER/input/config/hyperparameters.json; the model comes out in FOLDER/model. The container runs
# as you, so that you own what it writes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
image=${1:?usage: train_local.sh IMAGE [FOLDER]}
opt_ml=$(cd "${2:-$here/opt_ml}" && pwd)

mkdir -p "$opt_ml/model" "$opt_ml/output"
rm -rf "$opt_ml"/model/* "$opt_ml"/output/*
exec docker run --rm --user "$(id -u):$(id -g)" --volume "$opt_ml:/opt/ml" "$image" train
