{{- /* Written by tfbundle. */}}
{{- define "bundle.mounts" -}}
{{- if .Values.tls.enabled }}
- name: tls-config
  mountPath: /etc/tf-serving-tls
  readOnly: true
{{- end }}
{{- if include "bundle.source" . }}
- name: models
  mountPath: /models
  {{- if or .Values.imageVolume.enabled .Values.registry.enabled }}
  subPath: models
  {{- end }}
  readOnly: true
{{- end }}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "bundle.volumes" -}}
{{- if .Values.tls.enabled }}
- name: tls-secret
  secret:
    secretName: {{ .Values.tls.secretName | quote }}
    defaultMode: 288
- name: tls-script
  configMap:
    name: {{ printf "%s-tls-script" (include "bundle.name" .) | quote }}
- name: tls-config
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- if .Values.persistence.enabled }}
- name: models
  persistentVolumeClaim:
    claimName: {{ include "bundle.claim" . | quote }}
    readOnly: true
{{- else if .Values.imageVolume.enabled }}
- name: models
  image:
    reference: {{ .Values.imageVolume.reference | quote }}
    pullPolicy: {{ .Values.imageVolume.pullPolicy }}
{{- else if .Values.bucket.enabled }}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.bucket.size | quote }}
{{- else if .Values.registry.enabled }}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.registry.size | quote }}
{{- with .Values.registry.secretName }}
- name: registry
  secret:
    secretName: {{ . | quote }}
    items:
      - key: .dockerconfigjson
        path: config.json
{{- end }}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "bundle.init" -}}
{{- if or .Values.tls.enabled .Values.bucket.enabled .Values.registry.enabled }}
initContainers:
{{- end }}
{{- if .Values.registry.enabled }}
  - name: models
    image: {{ .Values.registry.image | quote }}
    command:
      - sh
      - -euc
      - |
        oras pull --no-tty --output=/bundle "$1"
        image="$1"
        shift
        for version; do
          test -d "/bundle/models/$version" || { echo "$image has no models/$version that ORAS can unpack" >&2; exit 1; }
        done
      - pull
    args:
      - {{ .Values.registry.reference | quote }}
      {{- toYaml .Values.registry.versions | nindent 6 }}
    env:
      - name: TMPDIR
        value: /bundle
      - name: DOCKER_CONFIG
        value: /docker
    resources:
      requests:
        cpu: 100m
        memory: 64Mi
        ephemeral-storage: {{ .Values.registry.size | quote }}
      limits:
        memory: 256Mi
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: models
        mountPath: /bundle
      {{- if .Values.registry.secretName }}
      - name: registry
        mountPath: /docker
        readOnly: true
      {{- end }}
{{- end }}
{{- if .Values.bucket.enabled }}
  - name: models
    image: {{ .Values.bucket.image | quote }}
    args:
      {{- toYaml .Values.bucket.arguments | nindent 6 }}
    envFrom:
      - secretRef:
          name: {{ default (printf "%s-bucket" (include "bundle.name" .)) .Values.bucket.secretName | quote }}
          optional: true
    resources:
      requests:
        cpu: 100m
        memory: 64Mi
        ephemeral-storage: {{ .Values.bucket.size | quote }}
      limits:
        memory: 256Mi
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: models
        mountPath: /models
      - name: tmp
        mountPath: /tmp
{{- end }}
{{- if .Values.tls.enabled }}
  - name: tls
    image: {{ include "bundle.image" . | quote }}
    command:
      - bash
      - /scripts/ssl-config.sh
      - /secret
      - /etc/tf-serving-tls/ssl.config
    env:
      - name: CLIENT_VERIFY
        value: {{ .Values.tls.clientVerify | quote }}
    resources:
      requests:
        cpu: 10m
        memory: 16Mi
      limits:
        memory: 64Mi
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: tls-secret
        mountPath: /secret
        readOnly: true
      - name: tls-script
        mountPath: /scripts
        readOnly: true
      - name: tls-config
        mountPath: /etc/tf-serving-tls
{{- end }}
{{- end }}
