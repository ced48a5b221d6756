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
printf '{"ok":true,%s}\n' "$(info '"cluster":<json .Swarm.Cluster.ID>,"node":<json .Swarm.NodeID>')"
