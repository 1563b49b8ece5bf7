{{- define "lifeboat.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lifeboat.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lifeboat.labels" -}}
{{ include "lifeboat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Its pods are none of the daemon's: Service, budget and policy of those do not mean them. */}}
{{- define "lifeboat.responderSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-responder
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lifeboat.responderLabels" -}}
{{ include "lifeboat.responderSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "lifeboat.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "lifeboat.fullname" .) -}}
{{- end -}}

{{- define "lifeboat.configMap" -}}
{{- .Values.existingConfigMap | default (include "lifeboat.fullname" .) -}}
{{- end -}}

{{- define "lifeboat.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What the chart sets wins over `config`. */}}
{{- define "lifeboat.config" -}}
{{- $set := dict
  "apiVersion" "lifeboat.dev/v1alpha1"
  "kind" "Config"
  "signing" (dict "secretKeyFile" "/etc/lifeboat/keys/signing.key")
  "daemon" (dict
    "listen" (printf "0.0.0.0:%v" .Values.service.port)
    "leaderElection" (dict "namespace" .Release.Namespace "name" (include "lifeboat.fullname" .))
  )
-}}
{{- if .Values.customResources.enabled -}}
{{- $_ := set $set.daemon "customResources" (dict "namespace" .Release.Namespace) -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $set) -}}
{{- end -}}
