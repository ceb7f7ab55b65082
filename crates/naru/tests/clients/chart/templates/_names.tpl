{{- define "name" -}}
{{ default .Release.Name .Values.name }}
{{- end -}}
{{- define "labels" -}}
app.kubernetes.io/name: {{ include "name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
