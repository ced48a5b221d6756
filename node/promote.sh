# Makes a worker a manager.
OUT=$(docker node promote "$SSM_NODE" 2>&1) || refuse promote-failed "$OUT"
[ "$(docker node inspect --format "$(template '<.Spec.Role>')" "$SSM_NODE")" = manager ] || refuse promote-failed "the role did not change"
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
