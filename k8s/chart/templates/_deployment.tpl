{{- /* Written by tfbundle. */}}
{{- /*
The Deployment of a track. The argument is a dict with "root" ($), "component" ("server" or "canary"), "name", "config" (the
name of the ConfigMap), "data" (its content), "state", and "flags" (those of this track only). The comments in
k8s/base/deployment.yaml explain each field.
*/}}
{{- define "bundle.deployment" -}}
{{- $values := .root.Values }}
{{- $with := $values.components }}
{{- $labels := include "bundle.labels" .root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name | quote }}
  labels:
    {{- $labels | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if eq .component "canary" }}
  replicas: 1
  {{- else if not $with.autoscaling }}
  replicas: {{ $values.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- $labels | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  progressDeadlineSeconds: {{ $values.progressDeadlineSeconds }}
  strategy:
    rollingUpdate:
      maxSurge: {{ ternary 0 1 $with.gpu }}
      maxUnavailable: {{ ternary 1 0 $with.gpu }}
  template:
    metadata:
      labels:
        {{- $labels | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/config: {{ .data | toJson | sha256sum }}
        {{- if $with.metrics }}
        prometheus.io/scrape: 'true'
        prometheus.io/port: {{ $values.ports.rest | quote }}
        prometheus.io/path: {{ $values.monitoringPath | quote }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "bundle.name" .root | quote }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      shareProcessNamespace: true
      terminationGracePeriodSeconds: 60
      {{- if $with.gpu }}
      tolerations:
        - key: nvidia.com/gpu
          operator: Exists
          effect: NoSchedule
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $labels | nindent 14 }}
              app.kubernetes.io/component: {{ .component }}
        {{- if index $with "topology-spread" }}
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $labels | nindent 14 }}
          matchLabelKeys:
            - pod-template-hash
        {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        {{- if $with.tls }}
        fsGroup: 10001
        {{- end }}
        seccompProfile:
          type: RuntimeDefault
      {{- include "bundle.init" .root | nindent 6 }}
      containers:
        - name: tensorflow-serving
          image: {{ include "bundle.image" .root | quote }}
          imagePullPolicy: IfNotPresent
          command:
            - tensorflow_model_server
          args:
            - --port={{ int $values.ports.grpc }}
            - --rest_api_port={{ int $values.ports.rest }}
            {{- concat $values.flags .flags | toYaml | nindent 12 }}
            {{- if $with.tls }}
            - --ssl_config_file=/etc/tf-serving-tls/ssl.config
            {{- end }}
          {{- if $with.gpu }}
          env:
            - name: TF_FORCE_GPU_ALLOW_GROWTH
              value: 'true'
          {{- end }}
          ports:
            - name: grpc
              containerPort: {{ $values.ports.grpc }}
            - name: rest
              containerPort: {{ $values.ports.rest }}
          startupProbe:
            {{- include "bundle.state" . | nindent 12 }}
            failureThreshold: {{ $values.startupFailureThreshold }}
          readinessProbe:
            {{- include "bundle.state" . | nindent 12 }}
            failureThreshold: 3
          livenessProbe:
            httpGet:
              path: {{ $values.livenessPath | quote }}
              port: rest
            periodSeconds: 10
            timeoutSeconds: 10
            failureThreshold: 6
          lifecycle:
            preStop:
              exec:
                command:
                  - sleep
                  - '46'
          resources:
            requests:
              {{- toYaml $values.resources.requests | nindent 14 }}
            limits:
              {{- toYaml $values.resources.limits | nindent 14 }}
              {{- if $with.gpu }}
              nvidia.com/gpu: {{ $values.gpus }}
              {{- end }}
          securityContext:
            {{- include "bundle.restricted" . | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/tf-serving
              readOnly: true
            - name: tmp
              mountPath: /tmp
            {{- include "bundle.mounts" .root | nindent 12 }}
      volumes:
        - name: config
          configMap:
            name: {{ .config | quote }}
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
        {{- include "bundle.volumes" .root | nindent 8 }}
{{- end }}

{{- define "bundle.state" -}}
exec:
  command:
    - bash
    - /etc/tf-serving/model-state.sh
    - {{ .root.Values.ports.rest | quote }}
    {{- toYaml .state | nindent 4 }}
periodSeconds: 5
timeoutSeconds: 5
{{- end }}
