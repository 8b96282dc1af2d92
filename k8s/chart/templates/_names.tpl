{{- /* Written by tfbundle. */}}
{{- /*
The name of the objects, by Helm's convention: fullnameOverride, or the release's name if it contains the chart's, or both. It
leaves room for suffixes such as -metrics.
*/}}
{{- define "bundle.name" -}}
{{- $chart := default .Chart.Name .Values.nameOverride }}
{{- $name := printf "%s-%s" .Release.Name $chart }}
{{- if .Values.fullnameOverride }}{{ $name = .Values.fullnameOverride }}
{{- else if contains $chart .Release.Name }}{{ $name = .Release.Name }}
{{- end }}
{{- $name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "bundle.labels" -}}
app.kubernetes.io/name: tensorflow-serving
app.kubernetes.io/instance: {{ include "bundle.name" . | quote }}
{{- end }}

{{- define "bundle.image" -}}
{{- if or (index .Values.components "models-pvc") (index .Values.components "models-volume") (index .Values.components "models-bucket") -}}
{{ .Values.serverImage }}
{{- else -}}
{{ .Values.image }}
{{- end }}
{{- end }}

{{- define "bundle.check" -}}
{{- range $name, $on := .Values.components }}
{{- if not (kindIs "bool" $on) }}{{ fail (printf "components: %s is %v, but must be true or false" $name $on) }}{{ end }}
{{- end }}
{{- $known := list "gateway" "ingress" "canary" "autoscaling" "disruption-budget" "metrics" "service-monitor" "network-policy" "topology-spread" "gpu" "tls" "models-pvc" "models-volume" "models-bucket" }}
{{- range keys .Values.components | sortAlpha }}
{{- if not (has . $known) }}{{ fail (printf "components: there is no %s; values.yaml lists all components" .) }}{{ end }}
{{- end }}
{{- $sources := 0 }}
{{- range list "models-pvc" "models-volume" "models-bucket" }}
{{- if index $.Values.components . }}{{ $sources = add1 $sources }}{{ end }}
{{- end }}
{{- if gt (int $sources) 1 }}
{{- fail "components: enable only one of models-pvc, models-volume and models-bucket, because each mounts /models" }}
{{- end }}
{{- end }}

{{- define "bundle.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}
