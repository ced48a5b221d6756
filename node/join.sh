# Joins this node to the swarm as a worker. Safe to repeat: a node that is in a swarm says which node it is.
report() {
  CODE=$(info '<.Swarm.LocalNodeState>')
  case $CODE in
  active) printf '{"ok":true,%s}\n' "$(info '"state":"active","node":<json .Swarm.NodeID>,"managers":<json .Swarm.RemoteManagers>')" && exit 0 ;;
  pending) printf '{"ok":true,"state":"pending"}\n' && exit 0 ;;
  inactive) ;;
  *) refuse "swarm-$CODE" "the engine's swarm state is $CODE" ;;
  esac
}
report

command -v aws >/dev/null 2>&1 || refuse no-aws "there is no aws command on this instance"
TOKEN=$(aws ssm get-parameter --region "$SSM_REGION" --name "$SSM_TOKEN" --with-decryption --query Parameter.Value --output text 2>&1) ||
  refuse no-token "$TOKEN"
case $TOKEN in
SWMTKN-*) ;;
*) refuse no-token "the parameter holds no join token" ;;
esac
# The address from which this node reaches the managers: an instance may have several.
ADDRESS=$(ip -4 route get "${SSM_MANAGERS%%:*}" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
REMOTES=$(printf '%s' "$SSM_MANAGERS" | sed 's/,/","/g')
# Through the API: 'docker swarm join' takes the token on its command line only, where every process here can read it.
ANSWER=$(printf '{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"%s","RemoteAddrs":["%s"],"JoinToken":"%s"}' \
  "$ADDRESS" "$REMOTES" "$TOKEN" | engine POST /swarm/join 45) || ANSWER='no answer from the engine
000'
# A join that times out goes on in the background, so what the engine says now is what counts.
report
refuse join-failed "$(printf '%s' "$ANSWER" | sed 's/SWMTKN[-0-9a-z]*/(token)/g')"
