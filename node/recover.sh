# Makes this manager the only one of its swarm, which has lost its quorum. Sent only where EC2 says of every other voter
# that it is terminated, or where a person has decided. What Raft knew is copied first.
[ "$(info '<.Swarm.ControlAvailable>')" = true ] || refuse not-a-manager "this instance is no manager"
if ! docker node ls >/dev/null 2>&1; then
  ROOT=$(info '<.DockerRootDir>')
  COPY="$ROOT/swarm.before-recovery-$(date -u +%Y%m%dT%H%M%SZ)"
  OUT=$(cp -a "$ROOT/swarm" "$COPY" 2>&1) || refuse not-copied "$OUT"
  OUT=$(docker swarm init --force-new-cluster --advertise-addr "$SSM_ADDRESS" 2>&1 >/dev/null) || refuse recover-failed "$OUT"
fi
TRIES=0
until OUT=$(docker node ls --quiet 2>&1); do
  TRIES=$((TRIES + 1))
  [ "$TRIES" -lt 15 ] || refuse recover-failed "$OUT"
  sleep 1
done
# A forced recovery has been seen to lose the ingress network (moby#34987): then no published port answers. It is known by
# what it is, not by its name, which an operator may have chosen.
NETWORKS=$(docker network ls --quiet --no-trunc --filter scope=swarm) || refuse recover-failed "the networks can not be listed"
INGRESS=false
for NETWORK in $NETWORKS; do
  [ "$(docker network inspect --format "$(template '<.Ingress>')" "$NETWORK")" != true ] || INGRESS=true
done
printf '{"ok":true,"ingress":%s,%s}\n' "$INGRESS" "$(info '"cluster":<json .Swarm.Cluster.ID>,"node":<json .Swarm.NodeID>')"
