# Publishes a port of a service on the routing mesh, or takes it back. Safe to repeat. CHANGE: add; create, which refuses
# a port that this very service publishes already in another way; remove.
# CERTIFICATE and HEALTH become labels, for the balancer; where they are none, the labels go.
OUT=$(docker node ls --quiet 2>&1) || refuse no-manager "$OUT"
# 'inspect' also takes the beginning of an id; a caller means one service, by its whole name or id.
KNOWN=$(docker service inspect --format "$(template '<.ID> <.Spec.Name>')" "$SSM_SERVICE" 2>/dev/null) || refuse no-such-service "$SSM_SERVICE"
ID=${KNOWN%% *}
NAME=${KNOWN#* }
[ "$SSM_SERVICE" = "$ID" ] || [ "$SSM_SERVICE" = "$NAME" ] || refuse no-such-service "$SSM_SERVICE"

LABEL="swarm-mesh.expose.$SSM_PUBLISHED.$SSM_PROTOCOL"
TLS="swarm-mesh.tls.$SSM_PUBLISHED"
HEALTH="swarm-mesh.health.$SSM_PUBLISHED"
THIS="\"Protocol\":\"$SSM_PROTOCOL\",.*\"PublishedPort\":$SSM_PUBLISHED,"

# Whether anything changed, and whether the port is a new one.
done_with() {
  printf '{"ok":true,"service":"%s","changed":%s,"created":%s}\n' "$NAME" "$1" "$2"
  exit 0
}
# Not ours to decide who was right: whoever asked may ask again.
meanwhile() { refuse changed-meanwhile "the service was changed by somebody else meanwhile"; }
# Refuses with the code that is given first.
update() {
  CODE=$1
  shift
  OUT=$(docker service update --detach --quiet "$@" "$ID" 2>&1) && return 0
  case $OUT in
  *"out of sequence"*) meanwhile ;;
  *"already in use by service '"*) refuse port-taken "$(printf '%s' "$OUT" | sed "s/.*already in use by service '\([^']*\)'.*/\1/")" ;;
  *) refuse "$CODE" "$OUT" ;;
  esac
}
# The service's ports as its author wrote them, one JSON object a line.
written() { docker service inspect --format "$(template '<with .Spec.EndpointSpec><range .Ports><json .>
<end><end>')" "$ID" | sed '/^$/d'; }
mine() { written | grep "$THIS" || true; }
others() { written | grep -v "$THIS" || true; }
field() { printf '%s' "$1" | sed -n "s/.*\"$2\":\"\{0,1\}\([a-z0-9]*\).*/\1/p"; }
label() { docker service inspect --format "$(template "<index .Spec.Labels \"$1\">")" "$ID"; }

# Sets the ports through the API, under the service's version, so that a change by somebody else in between is refused,
# not lost. The command's --publish-rm goes by the target port: it would take along every port that shares the target.
rewrite() {
  VERSION=$(docker service inspect --format "$(template '<.Version.Index>')" "$ID")
  LIST=$(printf '%s' "$1" | sed '/^$/d' | tr '\n' ',')
  docker service inspect --format "$(template '<json .Spec>')" "$ID" |
    # Inside a JSON string the quotes of this key would be escaped, so only the key itself matches.
    sed "s/\"EndpointSpec\":{\"Mode\":\"\([a-z]*\)\",\"Ports\":\[[^]]*\]}/\"EndpointSpec\":{\"Mode\":\"\1\",\"Ports\":[${LIST%,}]}/" |
    engine POST "/services/$ID/update?version=$VERSION" | tail -n 1 | grep -q '^200$'
}

# Certificates are tcp's alone. The health path is the port's: tcp decides on it, and udp only adds one, or takes its own.
given() { [ "$1" = none ] || printf '%s' "$1"; }
HAD_TLS=$(label "$TLS")
HAD_HEALTH=$(label "$HEALTH")
WANT_TLS=$HAD_TLS
WANT_HEALTH=$(given "$SSM_HEALTH")
if [ "$SSM_PROTOCOL" = tcp ]; then
  WANT_TLS=$(given "$SSM_CERTIFICATE")
elif [ -z "$WANT_HEALTH" ] && [ -n "$(label "swarm-mesh.expose.$SSM_PUBLISHED.tcp")" ]; then
  WANT_HEALTH=$HAD_HEALTH
fi
# What has to be done to the labels.
set --
if [ -n "$WANT_TLS" ]; then
  [ "$HAD_TLS" = "$WANT_TLS" ] || set -- "$@" --label-add "$TLS=$WANT_TLS"
elif [ -n "$HAD_TLS" ]; then
  set -- "$@" --label-rm "$TLS"
fi
if [ -n "$WANT_HEALTH" ]; then
  [ "$HAD_HEALTH" = "$WANT_HEALTH" ] || set -- "$@" --label-add "$HEALTH=$WANT_HEALTH"
elif [ -n "$HAD_HEALTH" ]; then
  set -- "$@" --label-rm "$HEALTH"
fi

HAS=$(mine)
EXPOSED=$(label "$LABEL")
if [ "$SSM_CHANGE" = remove ]; then
  [ -n "$HAS" ] || [ -n "$EXPOSED" ] || done_with false false
  set -- "$@" --label-rm "$LABEL"
  if [ -n "$HAS" ]; then
    TARGET=$(field "$HAS" TargetPort)
    if others | grep -q "\"TargetPort\":$TARGET,"; then
      rewrite "$(others)" || meanwhile
    else
      set -- "$@" --publish-rm "published=$SSM_PUBLISHED,target=$TARGET,protocol=$SSM_PROTOCOL,mode=$(field "$HAS" PublishMode)"
    fi
  fi
  update unpublish-failed "$@"
  [ -z "$(mine)" ] || refuse unpublish-failed "the port is still published"
  done_with true false
fi

# Names of the services that hold the port; the engine's own numbers, so that ports it chose itself count too.
for OTHER in $(docker service ls --format "$(template '<.ID>')"); do
  case $ID in "$OTHER"*) continue ;; esac
  if docker service inspect --format "$(template '<range .Endpoint.Ports>/<.PublishedPort>/<.Protocol>/ <end><.Spec.Name>')" "$OTHER" 2>/dev/null |
    grep "/$SSM_PUBLISHED/$SSM_PROTOCOL/ " >/dev/null; then
    refuse port-taken "$(docker service inspect --format "$(template '<.Spec.Name>')" "$OTHER")"
  fi
done

WANT="{\"Protocol\":\"$SSM_PROTOCOL\",\"TargetPort\":$SSM_TARGET,\"PublishedPort\":$SSM_PUBLISHED,\"PublishMode\":\"ingress\"}"
[ "$HAS" != "$WANT" ] || [ "$EXPOSED" != api ] || [ "$#" -gt 0 ] || done_with false false
# Somebody was first with this port.
[ "$SSM_CHANGE" != create ] || [ -z "$HAS" ] || refuse port-taken "$NAME"
CREATED=false
[ "$EXPOSED" = api ] || set -- "$@" --label-add "$LABEL=api"
if [ -z "$HAS" ]; then
  CREATED=true
  set -- "$@" --publish-add "published=$SSM_PUBLISHED,target=$SSM_TARGET,protocol=$SSM_PROTOCOL,mode=ingress"
elif [ "$HAS" != "$WANT" ]; then
  rewrite "$(others)
$WANT" || meanwhile
fi
[ "$#" -eq 0 ] || update publish-failed "$@"
[ "$(mine)" = "$WANT" ] || refuse publish-failed "the port is not published after the update"
done_with true "$CREATED"
