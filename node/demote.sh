# Makes a manager a worker.
OUT=$(docker node demote "$SSM_NODE" 2>&1) || refuse demote-failed "$OUT"
[ "$(docker node inspect --format "$(template '<.Spec.Role>')" "$SSM_NODE")" = worker ] || refuse demote-failed "the role did not change"
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
