# Takes this node out of the swarm. Never with force: a manager has to be demoted first.
case $(info '<.Swarm.LocalNodeState>') in
inactive) ;;
*)
  [ "$(info '<.Swarm.ControlAvailable>')" != true ] || refuse still-a-manager "this node is a manager: demote it first"
  if ! OUT=$(docker swarm leave 2>&1); then
    case $OUT in
    # It was promoted a moment ago, and does not say so of itself yet.
    *"as a manager"*) refuse still-a-manager "$OUT" ;;
    *) refuse leave-failed "$OUT" ;;
    esac
  fi
  ;;
esac
STATE=$(info '<.Swarm.LocalNodeState>')
[ "$STATE" = inactive ] || refuse leave-failed "the engine's swarm state is still $STATE"
printf '{"ok":true}\n'
