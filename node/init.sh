# Initialises a swarm here, once, and stores the worker token in Parameter Store from here: it passes through no log,
# no event and no command line.
# The pool is chosen once, here: Docker's own begins at 10.0.0.0, where many a VPC has its nodes and its name server.
STATE=$(info '<.Swarm.LocalNodeState>')
case $STATE in
inactive) OUT=$(docker swarm init --advertise-addr "$SSM_ADDRESS" --default-addr-pool "$SSM_POOL" 2>&1 >/dev/null) || refuse init-failed "$OUT" ;;
active) [ "$(info '<.Swarm.ControlAvailable>')" = true ] || refuse not-a-manager "this instance is a worker of a swarm" ;;
*) refuse "swarm-$STATE" "the engine's swarm state is $STATE" ;;
esac

command -v aws >/dev/null 2>&1 || refuse no-aws "there is no aws command on this instance"
TOKEN=$(docker swarm join-token --quiet worker) || refuse no-quorum "the swarm here has no leader"
# A file that only root reads, in memory where there is a /run: the aws command reads its input twice, so not from stdin.
FILE=$(mktemp -p /run 2>/dev/null || mktemp)
trap 'rm -f "$FILE"' EXIT
printf '{"Name":"%s","Type":"SecureString","KeyId":"%s","Overwrite":true,"Value":"%s"}' "$SSM_TOKEN" "$SSM_KEY" "$TOKEN" >"$FILE"
OUT=$(aws ssm put-parameter --region "$SSM_REGION" --cli-input-json "file://$FILE" 2>&1 >/dev/null) ||
  refuse token-not-stored "$(printf '%s' "$OUT" | sed 's/SWMTKN[-0-9a-z]*/(token)/g')"
printf '{"ok":true,%s}\n' "$(info '"cluster":<json .Swarm.Cluster.ID>,"node":<json .Swarm.NodeID>')"
