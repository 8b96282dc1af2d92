{{- /* Written by tfbundle. */}}
{{- define "bundle.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name | quote }}
  labels:
    {{- include "bundle.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  selector:
    {{- include "bundle.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  ports:
    - name: grpc
      port: {{ .root.Values.ports.grpc }}
      targetPort: grpc
      appProtocol: {{ ternary "https" "kubernetes.io/h2c" .root.Values.components.tls }}
    - name: rest
      port: {{ .root.Values.ports.rest }}
      targetPort: rest
      appProtocol: http
{{- end }}
