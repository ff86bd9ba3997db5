{{- define "sallyport.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sallyport.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{ include "sallyport.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "sallyport.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sallyport.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Namespace of the Secrets, in which the Role is. */}}
{{- define "sallyport.secretNamespace" -}}
{{- dig "secretStore" "namespace" .Release.Namespace .Values.config -}}
{{- end -}}

{{/* Listeners that are on, as YAML: name, port, protocol. The defaults are the gateway's; a test compares them. */}}
{{- define "sallyport.listeners" -}}
{{- $config := .Values.config -}}
{{- if dig "https" "enabled" true $config }}
- name: https
  port: {{ dig "https" "port" 10002 $config | int }}
  protocol: TCP
{{- end }}
{{- if dig "websocket" "enabled" true $config }}
- name: websocket
  port: {{ dig "websocket" "port" 10000 $config | int }}
  protocol: TCP
{{- end }}
{{- if dig "quic" "enabled" false $config }}
- name: quic
  port: {{ dig "quic" "port" 10001 $config | int }}
  protocol: UDP
{{- end }}
{{- if dig "webtransport" "enabled" false $config }}
- name: webtransport
  port: {{ dig "webtransport" "port" 10005 $config | int }}
  protocol: TCP
{{- end }}
{{- if dig "tunnel" "enabled" false $config }}
- name: tunnel
  port: {{ dig "tunnel" "port" 10004 $config | int }}
  protocol: TCP
{{- end }}
{{- end -}}

{{- define "sallyport.adminPort" -}}
{{- dig "admin" "port" 10010 .Values.config | int -}}
{{- end -}}

{{/* gateway.yaml: the values, the names that always lead to the gateway, and an admin port that Prometheus can reach where it should. */}}
{{- define "sallyport.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $service := include "sallyport.fullname" . -}}
{{- $inside := printf "%s.%s" $service .Release.Namespace -}}
{{- $own := list "localhost" "127.0.0.1" "::1" $service $inside (printf "%s.svc" $inside) (printf "%s.svc.cluster.local" $inside) -}}
{{- $given := dig "advertise" "addresses" list $config -}}
{{- $_ := set $config "advertise" (dict "addresses" (concat $given $own | uniq)) -}}
{{- if and .Values.serviceMonitor.enabled (not (dig "admin" "host" "" $config)) -}}
{{- $_ := set $config "admin" (merge (dict "host" "0.0.0.0") (dig "admin" dict $config)) -}}
{{- end -}}
{{- if .Values.audit.enabled -}}
{{- $_ := set $config "audit" (merge (dict "path" "/var/lib/sallyport/audit") (dig "audit" dict $config)) -}}
{{- end -}}
{{- $head := dict "apiVersion" "sallyport/v1" "kind" "Gateway" -}}
{{- toYaml (merge $head $config) -}}
{{- end -}}

{{/*
What a running gateway cannot take over: only a change of these restarts the pods. Everything else reaches them through the mounted
ConfigMap, so that a new address in advertise.addresses drops no connection.
*/}}
{{- define "sallyport.restart" -}}
{{- $config := fromYaml (include "sallyport.config" .) -}}
{{- $set := dict -}}
{{- range $path := .Files.Lines "files/restart-settings.txt" -}}
{{- $keys := splitList "." $path -}}
{{- $section := $config -}}
{{- range initial $keys -}}
{{- $section = get $section . | default dict -}}
{{- end -}}
{{- if hasKey $section (last $keys) -}}
{{- $_ := set $set $path (get $section (last $keys)) -}}
{{- end -}}
{{- end -}}
{{- toJson $set | sha256sum -}}
{{- end -}}

{{- define "sallyport.gracePeriodSeconds" -}}
{{- $stopMs := dig "limits" "stopTimeoutMs" 15000 .Values.config | int -}}
{{- add .Values.preStopSeconds (div (add $stopMs 999) 1000) 5 -}}
{{- end -}}
