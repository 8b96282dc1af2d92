#!/usr/bin/env bash
# A bundle on its way through a registry, without Docker: built, pushed, pushed again (nothing is sent), signed, pulled into another
# folder by somebody who has only the public key, verified, served and smoke-tested.
#
#     apt-get install -y docker-registry openssl
#     pip install 'tfbundle[build,oci,sign]'        # or `make venv` in a clone: its .venv is found
#     examples/registry/run.sh [FOLDER]             # FOLDER keeps everything; without it, a temporary folder is removed at the end
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[[ -x $here/../../.venv/bin/tfbundle ]] && PATH=$(cd "$here/../../.venv/bin" && pwd):$PATH
for program in tfbundle docker-registry openssl python3; do
  command -v "$program" >/dev/null || { echo "$program is missing; the first lines of $0 say how to install it." >&2; exit 2; }
done

if (($#)); then
  mkdir -p "$1" && work=$(cd "$1" && pwd)
else
  work=$(mktemp -d)
fi
cleanup() {
  jobs -p | xargs -r kill 2>/dev/null || true
  wait
  (($1)) || rm -rf "$work"
}
trap "cleanup $#" EXIT
cd "$work"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
say() { printf '\n== %s\n' "$*"; }

say "A registry on this machine"
port=$(free_port)
cat >registry.yml <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YAML
docker-registry serve registry.yml >registry.log 2>&1 &
timeout 30 bash -c "until (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"
address=oci://localhost:$port/team/digits:1

say "Build"
tfbundle build "$here/../digits_cnn.py:digits_cnn" --name digits -o built/digits

say "Push, and push again"
tfbundle push built/digits "$address" --insecure
tfbundle push built/digits "$address" --insecure --json >again.json
python3 -c 'import json; sent = json.load(open("again.json"))["bytes"]["pushed"]; print(sent, "bytes sent"); assert sent == 0'

say "Sign the bundle, push the signature, and sign the digests in the registry"
openssl ecparam -name prime256v1 -genkey -noout -out key.pem
openssl ec -in key.pem -pubout -out key.pub 2>/dev/null
tfbundle sign built/digits --key key.pem
tfbundle push built/digits "$address" --insecure
tfbundle sign "$address" --key key.pem --insecure

say "Pull elsewhere, with the public key alone, and verify"
tfbundle pull "$address" -o pulled/digits --insecure --key key.pub
tfbundle verify pulled/digits --signature --key key.pub

say "Serve what was pulled, and smoke-test it"
grpc=$(free_port) rest=$(free_port)
tfbundle serve pulled/digits --port="$grpc" --rest_api_port="$rest" >server.log 2>&1 &
timeout 120 bash -c "until (: </dev/tcp/127.0.0.1/$grpc) 2>/dev/null; do sleep 0.2; done"
tfbundle smoke "localhost:$grpc" --bundle pulled/digits

say "Done"
