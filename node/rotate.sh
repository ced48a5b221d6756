# Rotates the worker's join token and stores the new one: no earlier token lets anybody in any more. Nodes in place stay.
# A repeat rotates again, so it also mends a run that could not store what it had rotated.
# Asked before anything changes: a token that was rotated and can not be stored keeps newcomers out.
needs_aws
TOKEN=$(docker swarm join-token --quiet worker) || refuse rotate-failed "this node is no manager, or its swarm has no leader"
store "$TOKEN"
OUT=$(docker swarm join-token --rotate --quiet worker 2>&1 >/dev/null) || refuse rotate-failed "$(redacted "$OUT")"
TOKEN=$(docker swarm join-token --quiet worker) ||
  refuse token-not-stored "the token was rotated, and the swarm has no leader now: do this again"
store "$TOKEN"
printf '{"ok":true}\n'
