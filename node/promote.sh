# Makes a node a manager.
OUT=$(docker node promote "$SSM_NODE" 2>&1) || refuse promote-failed "$OUT"
# The answer may come from a manager that is a moment behind.
TRIES=0
until [ "$(docker node inspect --format "$(template '<.Spec.Role>')" "$SSM_NODE")" = manager ]; do
  TRIES=$((TRIES + 1))
  [ "$TRIES" -lt 10 ] || refuse promote-failed "the role did not change"
  sleep 1
done
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
