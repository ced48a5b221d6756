# Publishes a port of a service on the routing mesh, or takes it back (CHANGE: add | remove). Safe to repeat.
OUT=$(docker node ls --quiet 2>&1) || refuse no-manager "$OUT"
# 'inspect' also takes the beginning of an id; a caller means one service, by its whole name or id.
KNOWN=$(docker service inspect --format "$(template '<.ID> <.Spec.Name>')" "$SSM_SERVICE" 2>/dev/null) || refuse no-such-service "$SSM_SERVICE"
ID=${KNOWN%% *}
NAME=${KNOWN#* }
[ "$SSM_SERVICE" = "$ID" ] || [ "$SSM_SERVICE" = "$NAME" ] || refuse no-such-service "$SSM_SERVICE"

LABEL="swarm-mesh.expose.$SSM_PUBLISHED.$SSM_PROTOCOL"
THIS="\"Protocol\":\"$SSM_PROTOCOL\",.*\"PublishedPort\":$SSM_PUBLISHED,"

done_with() {
  printf '{"ok":true,"service":"%s","changed":%s}\n' "$NAME" "$1"
  exit 0
}
update() { docker service update --detach --quiet "$@" "$ID" 2>&1; }
# The service's ports as its author wrote them, one JSON object a line.
written() { docker service inspect --format "$(template '<with .Spec.EndpointSpec><range .Ports><json .>
<end><end>')" "$ID" | sed '/^$/d'; }
mine() { written | grep "$THIS" || true; }
others() { written | grep -v "$THIS" || true; }
field() { printf '%s' "$1" | sed -n "s/.*\"$2\":\"\{0,1\}\([a-z0-9]*\).*/\1/p"; }
labelled() { docker service inspect --format "$(template "<index .Spec.Labels \"$LABEL\">")" "$ID"; }

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

HAS=$(mine)
if [ "$SSM_CHANGE" = remove ]; then
  [ -n "$HAS" ] || [ -n "$(labelled)" ] || done_with false
  set -- --label-rm "$LABEL"
  if [ -n "$HAS" ]; then
    TARGET=$(field "$HAS" TargetPort)
    if others | grep -q "\"TargetPort\":$TARGET,"; then
      rewrite "$(others)" || refuse unpublish-failed "the service was changed by somebody else meanwhile"
    else
      set -- "$@" --publish-rm "published=$SSM_PUBLISHED,target=$TARGET,protocol=$SSM_PROTOCOL,mode=$(field "$HAS" PublishMode)"
    fi
  fi
  OUT=$(update "$@") || refuse unpublish-failed "$OUT"
  [ -z "$(mine)" ] || refuse unpublish-failed "the port is still published"
  done_with true
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
[ "$HAS" != "$WANT" ] || [ "$(labelled)" != api ] || done_with false
set -- --label-add "$LABEL=api"
if [ -z "$HAS" ]; then
  set -- "$@" --publish-add "published=$SSM_PUBLISHED,target=$SSM_TARGET,protocol=$SSM_PROTOCOL,mode=ingress"
elif [ "$HAS" != "$WANT" ]; then
  rewrite "$(others)
$WANT" || refuse publish-failed "the service was changed by somebody else meanwhile"
fi
if ! OUT=$(update "$@"); then
  case $OUT in
  *"already in use by service '"*) refuse port-taken "$(printf '%s' "$OUT" | sed "s/.*already in use by service '\([^']*\)'.*/\1/")" ;;
  *) refuse publish-failed "$OUT" ;;
  esac
fi
[ "$(mine)" = "$WANT" ] || refuse publish-failed "the port is not published after the update"
done_with true
