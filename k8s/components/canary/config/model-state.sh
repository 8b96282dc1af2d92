#!/usr/bin/env bash
# Succeeds when every model named is AVAILABLE in the TensorFlow Serving on this machine, or on SERVER_HOST if that is set. Needs
# bash and cat alone: the image tensorflow/serving has no curl.
#
#   model-state.sh REST_PORT MODEL[/versions/N]...
#
# Without a version, one AVAILABLE version is enough: a version that was replaced stays listed as END. The state is
# looked for together with its key, because an error_code can be UNAVAILABLE.
set -u

if (($# < 2)); then
  echo "usage: $0 REST_PORT MODEL[/versions/N]..." >&2
  exit 2
fi
port=$1
host=${SERVER_HOST:-127.0.0.1}
shift

# All models are asked before an answer is read, so that many models take no longer than the slowest.
connections=()
for model in "$@"; do
  if ! exec {connection}<>"/dev/tcp/$host/$port"; then
    echo "nothing listens on port $port of $host: the models are not loaded yet, or the server is gone" >&2
    exit 1
  fi
  printf 'GET /v1/models/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$model" >&"$connection"
  connections+=("$connection")
done
for model in "$@"; do
  reply=$(cat <&"${connections[0]}")
  connections=("${connections[@]:1}")
  if [[ ! $reply =~ \"state\":\ *\"AVAILABLE\" ]]; then
    echo "$model is not AVAILABLE: $reply" >&2
    exit 1
  fi
done
