# Makes a node a worker.
OUT=$(docker node demote "$SSM_NODE" 2>&1) || refuse demote-failed "$OUT"
# The answer may come from a manager that is a moment behind.
TRIES=0
until [ "$(docker node inspect --format "$(template '<.Spec.Role>')" "$SSM_NODE")" = worker ]; do
  TRIES=$((TRIES + 1))
  [ "$TRIES" -lt 10 ] || refuse demote-failed "the role did not change"
  sleep 1
done
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
