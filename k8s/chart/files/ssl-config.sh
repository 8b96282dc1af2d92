#!/usr/bin/env bash
# Writes the ssl_config_file of tensorflow_model_server (text proto) from the files of a Kubernetes TLS secret.
#
#   ssl-config.sh SECRET_DIR FILE
#
# With a ca.crt and CLIENT_VERIFY=true, clients have to show a certificate of that authority (mTLS).
set -eu

if (($# != 2)); then
  echo "usage: $0 SECRET_DIR FILE" >&2
  exit 2
fi
secret=$1
file=$2

# One string literal a line of PEM: text proto joins them.
field() {
  printf '%s:\n' "$1"
  while IFS= read -r line || [[ -n $line ]]; do
    printf '  "%s\\n"\n' "${line%$'\r'}"
  done <"$2"
}

for part in tls.key tls.crt; do
  if [[ ! -s $secret/$part ]]; then
    echo "the secret has no $part; it must be of type kubernetes.io/tls" >&2
    exit 1
  fi
done
umask 077
{
  field server_key "$secret/tls.key"
  field server_cert "$secret/tls.crt"
  if [[ ${CLIENT_VERIFY:-false} == true ]]; then
    if [[ ! -s $secret/ca.crt ]]; then
      echo "CLIENT_VERIFY is true, and the secret has no ca.crt to verify clients with" >&2
      exit 1
    fi
    field custom_ca "$secret/ca.crt"
    echo 'client_verify: true'
  fi
} >"$file.part"
mv "$file.part" "$file"
