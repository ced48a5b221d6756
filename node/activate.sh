# Lets a node have tasks again.
OUT=$(docker node update --availability active "$SSM_NODE" 2>&1) || refuse activate-failed "$OUT"
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
