# Removes a node's record from the swarm. FORCE is yes only where EC2 says that the instance is no more.
set -- "$SSM_NODE"
[ "$SSM_FORCE" = no ] || set -- --force "$@"
if ! OUT=$(docker node rm "$@" 2>&1); then
  case $OUT in
  *"No such node"* | *"not found"*) ;;
  *"is not down"*) refuse not-down "$OUT" ;;
  *) refuse remove-failed "$OUT" ;;
  esac
fi
printf '{"ok":true,"node":"%s"}\n' "$SSM_NODE"
