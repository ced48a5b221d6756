# Takes this node out of the swarm. Never with force: a manager has to be demoted first.
case $(info '<.Swarm.LocalNodeState>') in
inactive) ;;
*)
  [ "$(info '<.Swarm.ControlAvailable>')" != true ] || refuse still-a-manager "this node is a manager: demote it first"
  OUT=$(docker swarm leave 2>&1) || refuse leave-failed "$OUT"
  ;;
esac
STATE=$(info '<.Swarm.LocalNodeState>')
[ "$STATE" = inactive ] || refuse leave-failed "the engine's swarm state is still $STATE"
printf '{"ok":true}\n'
