# Moves the tasks of a node elsewhere and gives it none.
OUT=$(docker node update --availability drain "$SSM_NODE" 2>&1) || refuse drain-failed "$OUT"
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
