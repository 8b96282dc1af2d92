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

{{- /* Labels of selectors and pods. */}}
{{- define "bundle.selector" -}}
app.kubernetes.io/name: tensorflow-serving
app.kubernetes.io/instance: {{ include "bundle.name" . | quote }}
{{- end }}

{{- /* Labels of objects: those of selectors, and labels that change with a version. */}}
{{- define "bundle.labels" -}}
{{ include "bundle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | trunc 63 | trimAll "._-" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "._-" | quote }}
{{- end }}

{{- define "bundle.account" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "bundle.name" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "bundle.reference" -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}

{{- /* The image with the models. Without a digest it needs a tag, by convention the chart's appVersion. */}}
{{- define "bundle.modelsImage" -}}
{{- $image := deepCopy .Values.image }}
{{- if not (or $image.tag $image.digest) }}{{ $image = set $image "tag" .Chart.AppVersion }}{{ end }}
{{- include "bundle.reference" $image }}
{{- end }}

{{- /* "true" if the models are not in the server's image. */}}
{{- define "bundle.source" -}}
{{- if or .Values.persistence.enabled .Values.imageVolume.enabled .Values.bucket.enabled .Values.registry.enabled }}true{{ end }}
{{- end }}

{{- define "bundle.image" -}}
{{- if include "bundle.source" . -}}
{{ include "bundle.reference" .Values.serverImage }}
{{- else -}}
{{ include "bundle.modelsImage" . }}
{{- end }}
{{- end }}

{{- define "bundle.claim" -}}
{{ default (printf "%s-models" (include "bundle.name" .)) .Values.persistence.existingClaim }}
{{- end }}

{{- /* Values that are valid by themselves, but not together. */}}
{{- define "bundle.check" -}}
{{- $sources := 0 }}
{{- range list .Values.persistence .Values.imageVolume .Values.bucket .Values.registry }}
{{- if .enabled }}{{ $sources = add1 $sources }}{{ end }}
{{- end }}
{{- if gt (int $sources) 1 }}
{{- fail "persistence, imageVolume, bucket, registry: enable only one of them, because each mounts /models" }}
{{- end }}
{{- if and .Values.persistence.fill.enabled (not .Values.persistence.enabled) }}
{{- fail "persistence.fill.enabled: the Job fills the claim, so set persistence.enabled: true" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) }}
{{- fail (printf "autoscaling.maxReplicas: %v is less than minReplicas, %v" .Values.autoscaling.maxReplicas .Values.autoscaling.minReplicas) }}
{{- end }}
{{- $live := list (.Values.livenessPath | trimPrefix "/v1/models/") }}
{{- include "bundle.checkState" (dict "key" "state" "targets" .Values.state "models" (index .Values.config "models.config") "of" "config.models.config") }}
{{- include "bundle.checkState" (dict "key" "livenessPath" "targets" $live "models" (index .Values.config "models.config") "of" "config.models.config") }}
{{- if .Values.canary.enabled }}
{{- include "bundle.checkState" (dict "key" "canary.state" "targets" .Values.canary.state "models" .Values.canary.models "of" "canary.models") }}
{{- include "bundle.checkState" (dict "key" "canary.stableState" "targets" .Values.canary.stableState "models" .Values.canary.stableModels "of" "canary.stableModels") }}
{{- end }}
{{- $server := .Values.serverImage }}
{{- if and .Values.gpu.enabled (hasSuffix "tensorflow/serving" $server.repository) (not (contains "gpu" $server.tag)) }}
{{- fail (printf "gpu.enabled: %s:%s is an image for CPUs; render the bundle again with docker.tag: %s-gpu" $server.repository $server.tag $server.tag) }}
{{- end }}
{{- end }}

{{- /* Probes that ask for a model that the server does not have never succeed. */}}
{{- define "bundle.checkState" -}}
{{- $ := . }}
{{- range .targets }}
{{- $name := regexReplaceAll "/versions/[0-9]+$" . "" }}
{{- if not (regexMatch (printf "name\\s*:\\s*[\"']%s[\"']" (regexQuoteMeta $name)) $.models) }}
{{- fail (printf "%s: a probe asks for the model %s, which %s does not have; name one of its models" $.key $name $.of) }}
{{- end }}
{{- end }}
{{- end }}
