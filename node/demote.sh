# Makes a node a worker.
OUT=$(docker node demote "$SSM_NODE" 2>&1) || refuse demote-failed "$OUT"
# Where the leader itself was demoted, the managers answer again once they have elected another.
TRIES=0
until [ "$(docker node inspect --format "$(template '<.Spec.Role>')" "$SSM_NODE" 2>&1)" = worker ]; do
  TRIES=$((TRIES + 1))
  [ "$TRIES" -lt 20 ] || refuse demote-failed "the role did not change within 20 s"
  sleep 1
done
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
