# Initialises a swarm here, once, and stores the worker token in Parameter Store from here: it passes through no log,
# no event and no command line.
STATE=$(info '<.Swarm.LocalNodeState>')
case $STATE in
inactive) OUT=$(docker swarm init --advertise-addr "$SSM_ADDRESS" 2>&1 >/dev/null) || refuse init-failed "$OUT" ;;
active) [ "$(info '<.Swarm.ControlAvailable>')" = true ] || refuse not-a-manager "this instance is a worker of a swarm" ;;
*) refuse "swarm-$STATE" "the engine's swarm state is $STATE" ;;
esac

TOKEN=$(docker swarm join-token --quiet worker) || refuse no-quorum "the swarm here has no leader"
OUT=$(printf '{"Name":"%s","Type":"SecureString","KeyId":"%s","Overwrite":true,"Value":"%s"}' \
  "$SSM_TOKEN" "$SSM_KEY" "$TOKEN" |
  aws ssm put-parameter --region "$SSM_REGION" --cli-input-json file:///dev/stdin 2>&1 >/dev/null) ||
  refuse token-not-stored "$(printf '%s' "$OUT" | sed 's/SWMTKN[-0-9a-z]*/(token)/g')"
printf '{"ok":true,%s}\n' "$(info '"cluster":<json .Swarm.Cluster.ID>,"node":<json .Swarm.NodeID>')"
