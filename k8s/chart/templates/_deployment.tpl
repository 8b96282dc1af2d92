{{- /* Written by tfbundle. */}}
{{- /*
The Deployment of a track. The argument is a dict with "root" ($), "component" ("server" or "canary"), "name", "config" (the
name of the ConfigMap), "data" (its content), "state", and "flags" (those of this track only). The comments in
k8s/base/deployment.yaml explain each field.
*/}}
{{- define "bundle.deployment" -}}
{{- $values := .root.Values }}
{{- $selector := include "bundle.selector" .root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name | quote }}
  labels:
    {{- include "bundle.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if eq .component "canary" }}
  replicas: 1
  {{- else if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicaCount | toJson }}
  {{- end }}
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  progressDeadlineSeconds: {{ $values.progressDeadlineSeconds | toJson }}
  strategy:
    rollingUpdate:
      maxSurge: {{ ternary 0 1 $values.gpu.enabled }}
      maxUnavailable: {{ ternary 1 0 $values.gpu.enabled }}
  template:
    metadata:
      labels:
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- $selector | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/config: {{ .data | toJson | sha256sum }}
        {{- if $values.metrics.enabled }}
        prometheus.io/scrape: 'true'
        prometheus.io/port: {{ $values.containerPorts.rest | quote }}
        prometheus.io/path: {{ $values.metrics.path | quote }}
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "bundle.account" .root | quote }}
      automountServiceAccountToken: {{ $values.serviceAccount.automount }}
      enableServiceLinks: false
      shareProcessNamespace: true
      terminationGracePeriodSeconds: 60
      {{- include "bundle.scheduling" (dict "root" .root "gpu" $values.gpu.enabled) | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
              app.kubernetes.io/component: {{ .component }}
        {{- if $values.zoneSpread.enabled }}
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
          matchLabelKeys:
            - pod-template-hash
        {{- end }}
        {{- with $values.topologySpreadConstraints }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      securityContext:
        {{- include "bundle.podSecurity" (dict "root" .root "group" $values.tls.enabled) | nindent 8 }}
      {{- include "bundle.init" .root | nindent 6 }}
      containers:
        - name: tensorflow-serving
          image: {{ include "bundle.image" .root | quote }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command:
            - tensorflow_model_server
          args:
            - --port={{ int $values.containerPorts.grpc }}
            - --rest_api_port={{ int $values.containerPorts.rest }}
            {{- concat $values.flags .flags | toYaml | nindent 12 }}
            {{- if $values.tls.enabled }}
            - --ssl_config_file=/etc/tf-serving-tls/ssl.config
            {{- end }}
          {{- if or $values.gpu.enabled $values.env }}
          env:
            {{- with $values.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- if $values.gpu.enabled }}
            - name: TF_FORCE_GPU_ALLOW_GROWTH
              value: 'true'
            {{- end }}
          {{- end }}
          {{- with $values.envFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - name: grpc
              containerPort: {{ $values.containerPorts.grpc | toJson }}
            - name: rest
              containerPort: {{ $values.containerPorts.rest | toJson }}
          startupProbe:
            {{- include "bundle.state" . | nindent 12 }}
            {{- toYaml $values.startupProbe | nindent 12 }}
          readinessProbe:
            {{- include "bundle.state" . | nindent 12 }}
            {{- toYaml $values.readinessProbe | nindent 12 }}
          livenessProbe:
            httpGet:
              path: {{ $values.livenessPath | quote }}
              port: rest
            {{- toYaml $values.livenessProbe | nindent 12 }}
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
              {{- if $values.gpu.enabled }}
              nvidia.com/gpu: {{ $values.gpu.count | toJson }}
              {{- end }}
          securityContext:
            {{- toYaml $values.securityContext | nindent 12 }}
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
    - {{ .root.Values.containerPorts.rest | quote }}
    {{- toYaml .state | nindent 4 }}
{{- end }}

{{- /* Where pods run, and with whose credentials images are pulled. The argument is a dict with "root" ($) and "gpu". */}}
{{- define "bundle.scheduling" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .root.Values.tolerations .gpu }}
tolerations:
  {{- with .root.Values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if .gpu }}
  - key: nvidia.com/gpu
    operator: Exists
    effect: NoSchedule
  {{- end }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* securityContext of pods. If "group" is true, files of volumes belong to the pods' group. */}}
{{- define "bundle.podSecurity" -}}
{{- $security := deepCopy .root.Values.podSecurityContext }}
{{- if and .group (not (hasKey $security "fsGroup")) (hasKey $security "runAsGroup") }}
{{- $security = set $security "fsGroup" $security.runAsGroup }}
{{- end }}
{{- toYaml $security }}
{{- end }}
