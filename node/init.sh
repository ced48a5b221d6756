# Initialises a swarm here, once, and stores its worker token.
# The pool is chosen once, here: Docker's own begins at 10.0.0.0, where many a VPC has its nodes and its name server.
STATE=$(info '<.Swarm.LocalNodeState>')
case $STATE in
inactive) OUT=$(docker swarm init --advertise-addr "$SSM_ADDRESS" --default-addr-pool "$SSM_POOL" 2>&1 >/dev/null) || refuse init-failed "$OUT" ;;
active) [ "$(info '<.Swarm.ControlAvailable>')" = true ] || refuse not-a-manager "this instance is a worker of a swarm" ;;
*) refuse "swarm-$STATE" "the engine's swarm state is $STATE" ;;
esac

needs_aws
TOKEN=$(docker swarm join-token --quiet worker) || refuse no-quorum "the swarm here has no leader"
store "$TOKEN"
printf '{"ok":true,%s}\n' "$(info '"cluster":<json .Swarm.Cluster.ID>,"node":<json .Swarm.NodeID>')"
