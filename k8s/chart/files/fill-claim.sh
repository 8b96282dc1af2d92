#!/usr/bin/env bash
# Copies <model>/<version>/ from one folder to another, as tensorflow_model_server may read it at any time: a version is copied
# under a name that is not a number, which the server ignores, and renamed when it is complete.
#
#   fill-claim.sh FROM TO
set -euo pipefail

if (($# != 2)); then
  echo "usage: $0 FROM TO" >&2
  exit 2
fi
from=$1
to=$2

shopt -s nullglob
versions=("$from"/*/*/)
if ((${#versions[@]} == 0)); then
  echo "$from has no <model>/<version>/: is this the image of docker/Dockerfile?" >&2
  exit 1
fi
for version in "${versions[@]}"; do
  name=${version#"$from"/}
  name=${name%/}
  if [[ -e $to/$name ]]; then
    echo "$name is there already"
    continue
  fi
  partial=$to/${name%/*}/incomplete-${name##*/}
  rm -rf "$partial"
  mkdir -p "$to/${name%/*}"
  cp -R "$version" "$partial"
  mv -T "$partial" "$to/$name"
  echo "$name is copied"
done
