{{- /* Written by tfbundle. */}}
{{- define "bundle.mounts" -}}
{{- $with := .Values.components }}
{{- if $with.tls }}
- name: tls-config
  mountPath: /etc/tf-serving-tls
  readOnly: true
{{- end }}
{{- if or (index $with "models-pvc") (index $with "models-volume") (index $with "models-bucket") }}
- name: models
  mountPath: /models
  readOnly: true
{{- end }}
{{- end }}

{{- define "bundle.volumes" -}}
{{- $with := .Values.components }}
{{- if $with.tls }}
- name: tls-secret
  secret:
    secretName: {{ .Values.tlsSecret | quote }}
    defaultMode: 288
- name: tls-script
  configMap:
    name: {{ printf "%s-tls-script" (include "bundle.name" .) | quote }}
- name: tls-config
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- if index $with "models-pvc" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ printf "%s-models" (include "bundle.name" .) | quote }}
    readOnly: true
{{- else if index $with "models-volume" }}
- name: models
  image:
    reference: {{ .Values.volumeImage | quote }}
    pullPolicy: IfNotPresent
{{- else if index $with "models-bucket" }}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.copySize | quote }}
{{- end }}
{{- end }}

{{- define "bundle.init" -}}
{{- $with := .Values.components }}
{{- if or $with.tls (index $with "models-bucket") }}
initContainers:
{{- end }}
{{- if index $with "models-bucket" }}
  - name: models
    image: rclone/rclone:1.71.0
    args:
      {{- toYaml .Values.copyArguments | nindent 6 }}
    envFrom:
      - secretRef:
          name: {{ printf "%s-bucket" (include "bundle.name" .) | quote }}
          optional: true
    resources:
      requests:
        cpu: 100m
        memory: 64Mi
        ephemeral-storage: {{ .Values.copySize | quote }}
      limits:
        memory: 256Mi
    securityContext:
      {{- include "bundle.restricted" . | nindent 6 }}
    volumeMounts:
      - name: models
        mountPath: /models
      - name: tmp
        mountPath: /tmp
{{- end }}
{{- if $with.tls }}
  - name: tls
    image: {{ include "bundle.image" . | quote }}
    command:
      - bash
      - /scripts/ssl-config.sh
      - /secret
      - /etc/tf-serving-tls/ssl.config
    env:
      - name: CLIENT_VERIFY
        value: 'false'
    resources:
      requests:
        cpu: 10m
        memory: 16Mi
      limits:
        memory: 64Mi
    securityContext:
      {{- include "bundle.restricted" . | nindent 6 }}
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
