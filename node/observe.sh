# What this node knows of the swarm, as one JSON line. A manager's view of nodes and services is packed (gzip, base64)
# and cut into pages, since Run Command returns 24,000 characters at most. PAGE counts from 1.
PAGE_SIZE=20000

SELF=$(info '"state":<json .Swarm.LocalNodeState>,"node":<json .Swarm.NodeID>,"control":<json .Swarm.ControlAvailable>,"fault":<json .Swarm.Error>,"cluster":<with .Swarm.Cluster><json .ID><else>null<end>,"address":<json .Swarm.NodeAddr>,"managers":<json .Swarm.RemoteManagers>,"engine":<json .ServerVersion>')

# Every failure ends it: a list that could not be read must not look like an empty one. ('set -e' does not hold in here.)
view() {
  # Without a leader this would hang for 20 s, and then fail.
  IDS=$(timeout 8 docker node ls --quiet) || return 1
  [ -n "$IDS" ] || return 1
  # shellcheck disable=SC2086 # ids are one word each
  docker node inspect --format "$(template '["node",<json .ID>,<json .Description.Hostname>,<json .Spec.Role>,<json .Spec.Availability>,<json .Status.State>,<json .Status.Addr>,<with .ManagerStatus>[<json .Reachability>,<json .Leader>,<json .Addr>]<else>null<end>,<json (index .Spec.Labels "swarm-mesh.instance")>]')" $IDS || return 1
  # shellcheck disable=SC2086
  DRAINED=$(docker node inspect --format "$(template '<if eq .Spec.Availability "drain"><.ID><end>')" $IDS) || return 1
  for ID in $DRAINED; do
    TASKS=$(docker node ps --no-trunc --format "$(template '<.CurrentState>')" "$ID") || return 1
    LEFT=$(printf '%s\n' "$TASKS" |
      grep -c -E '^(New|Allocated|Pending|Assigned|Accepted|Preparing|Ready|Starting|Running)' || true)
    printf '["tasks","%s",%s]\n' "$ID" "$LEFT"
  done
  SERVICES=$(docker service ls --quiet) || return 1
  [ -n "$SERVICES" ] || return 0
  # shellcheck disable=SC2016,SC2086 # $K and $V are the template's own
  docker service inspect --format "$(template '["service",<json .ID>,<json .Spec.Name>,[<range $K, $V := .Spec.Labels><if eq (printf "%.11s" $K) "swarm-mesh."><json $K>,<json $V>,<end><end>null],<json .Endpoint.Ports>]')" $SERVICES || return 1
  # A port of the hosts answers only where a task runs: asked of those services that expose one. Tasks that are about to
  # run count, or each update would take their nodes out of the balancer for a moment.
  # shellcheck disable=SC2016,SC2086
  HOSTED=$(docker service inspect --format "$(template '<$ID := .ID><$L := .Spec.Labels><range .Endpoint.Ports><if eq .PublishMode "host"><range $K, $V := $L><if eq (printf "%.17s" $K) "swarm-mesh.expose"><$ID> <end><end><end><end>')" $SERVICES) || return 1
  for ID in $(printf '%s' "$HOSTED" | tr -s ' ' '\n' | sort -u); do
    RUN=$(docker service ps --no-resolve --filter desired-state=running --filter desired-state=ready --format "$(template '<.Node>')" "$ID") || return 1
    printf '["runs","%s",[%s]]\n' "$ID" "$(printf '%s\n' "$RUN" | sed '/^$/d; s/.*/"&"/' | sort -u | tr '\n' ',' | sed 's/,$//')"
  done
}

case $SELF in
*'"control":true'*'does not have a leader'*) printf '{"ok":true,%s,"unreadable":"the swarm does not have a leader"}\n' "$SELF" ;;
*'"control":true'*)
  # A manager whose swarm has lost its quorum says control:true and fails here: then what it says of itself is all.
  if VIEW=$(view 2>&1); then
    PACKED=$(printf '%s' "$VIEW" | gzip -9n | base64 | tr -d '\n')
    SUM=$(printf '%s' "$VIEW" | cksum | tr ' ' '-')
    PAGES=$(((${#PACKED} + PAGE_SIZE - 1) / PAGE_SIZE))
    FROM=$(((SSM_PAGE - 1) * PAGE_SIZE + 1))
    CHUNK=$(printf '%s' "$PACKED" | cut -c "$FROM-$((FROM + PAGE_SIZE - 1))")
    printf '{"ok":true,%s,"pages":%s,"page":%s,"sum":"%s","view":"%s"}\n' "$SELF" "$PAGES" "$SSM_PAGE" "$SUM" "$CHUNK"
  else
    VIEW=${VIEW:-the nodes could not be listed within 8 s}
    printf '{"ok":true,%s,"unreadable":%s}\n' "$SELF" "$(text "$(printf '%s' "$VIEW" | tail -n 3 | cut -c 1-500)")"
  fi
  ;;
*) printf '{"ok":true,%s}\n' "$SELF" ;;
esac
