{{- /* Written by tfbundle. */}}
{{- /* The Service of a track. The argument is a dict with "root" ($), "component", "name", and "annotations". */}}
{{- define "bundle.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name | quote }}
  labels:
    {{- include "bundle.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if ne .root.Values.service.type "ClusterIP" }}
  type: {{ .root.Values.service.type }}
  {{- end }}
  selector:
    {{- include "bundle.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  ports:
    {{- include "bundle.servicePorts" (dict "root" .root "grpc" .root.Values.service.grpcPort "rest" .root.Values.service.port) | nindent 4 }}
{{- end }}

{{- define "bundle.servicePorts" -}}
- name: grpc
  port: {{ .grpc | toJson }}
  targetPort: grpc
  appProtocol: {{ ternary "https" "kubernetes.io/h2c" .root.Values.tls.enabled }}
- name: rest
  port: {{ .rest | toJson }}
  targetPort: rest
  appProtocol: http
{{- end }}
