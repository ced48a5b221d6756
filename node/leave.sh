# Takes this node out of the swarm. A manager has to be demoted first. FORCE is yes only for an engine that does not come up
# as the node that it was, and that has no vote any more: it takes itself for a manager, and waits for itself for ever.
state() { info '<.Swarm.LocalNodeState>'; }
if [ "$SSM_FORCE" = yes ]; then
  ! timeout 8 docker node ls >/dev/null 2>&1 || refuse still-a-manager "this node is a manager, and its swarm has a leader"
  OUT=$(docker swarm leave --force 2>&1) || case $OUT in
  *"not part of a swarm"*) ;;
  *) refuse leave-failed "$OUT" ;;
  esac
elif [ "$(state)" != inactive ]; then
  # A node that was demoted a moment ago takes a few seconds to learn of it, and one that was promoted does not say so yet.
  TRIES=0
  until [ "$(info '<.Swarm.ControlAvailable>')" != true ] && OUT=$(docker swarm leave 2>&1); do
    TRIES=$((TRIES + 1))
    case ${OUT:-as a manager} in
    *"as a manager"*) [ "$TRIES" -lt 15 ] || refuse still-a-manager "this node is a manager: demote it first" ;;
    *) refuse leave-failed "$OUT" ;;
    esac
    sleep 1
  done
fi
STATE=$(state)
[ "$STATE" = inactive ] || refuse leave-failed "the engine's swarm state is still $STATE"
printf '{"ok":true}\n'
