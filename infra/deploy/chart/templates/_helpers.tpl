{{- define "riverloop.labels" -}}
app.kubernetes.io/name: riverloop
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "riverloop.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "riverloop.environment" -}}
- {name: RIVERLOOP_BOOTSTRAP, value: {{ .Values.bootstrap | quote }}}
{{- with .Values.snapshots }}
- {name: RIVERLOOP_SNAPSHOTS, value: {{ . | quote }}}
{{- end }}
{{- range $setting, $key := .Values.secrets.keys }}
- {name: RIVERLOOP_{{ upper $setting }}_FILE, value: /run/secrets/riverloop/{{ $key }}}
{{- end }}
{{- range $setting, $value := .Values.settings }}
- {name: RIVERLOOP_{{ upper $setting }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "riverloop.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "riverloop.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "riverloop.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
- {name: secrets, mountPath: /run/secrets/riverloop, readOnly: true}
{{- if .Values.tasks.configMap }}
- {name: tasks, mountPath: /tasks, readOnly: true}
{{- end }}
{{- end }}

{{- define "riverloop.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
- name: secrets
  secret:
    secretName: {{ .Values.secrets.name }}
    defaultMode: 0440
    items:
      {{- range $key := .Values.secrets.keys | values | sortAlpha }}
      - {key: {{ $key }}, path: {{ $key }}}
      {{- end }}
{{- with .Values.tasks.configMap }}
- name: tasks
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}
