# Takes this node out of the swarm. Never with force: a manager has to be demoted first.
state() { info '<.Swarm.LocalNodeState>'; }
if [ "$(state)" != inactive ]; then
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
