# Joins this node to the swarm as a worker. Safe to repeat: a node that is in a swarm says which node it is.
report() {
  CODE=$(info '<.Swarm.LocalNodeState>')
  case $CODE in
  active) printf '{"ok":true,%s}\n' "$(info '"state":"active","node":<json .Swarm.NodeID>,"managers":<json .Swarm.RemoteManagers>')" && exit 0 ;;
  pending) printf '{"ok":true,"state":"pending"}\n' && exit 0 ;;
  inactive) ;;
  error)
    # What a join that failed in the background leaves behind. Only a node that was never a member is reset.
    [ -z "$(info '<.Swarm.NodeID>')" ] || refuse swarm-error "$(info '<.Swarm.Error>')"
    docker swarm leave --force >/dev/null 2>&1 || refuse swarm-error "$(info '<.Swarm.Error>')"
    ;;
  *) refuse "swarm-$CODE" "the engine's swarm state is $CODE" ;;
  esac
}
report

needs_aws
TOKEN=$(aws ssm get-parameter --region "$SSM_REGION" --name "$SSM_TOKEN" --with-decryption --query Parameter.Value --output text 2>&1) ||
  case $TOKEN in
  *ParameterNotFound*) refuse no-token "$TOKEN" ;;
  *) refuse token-unreadable "$TOKEN" ;;
  esac
case $TOKEN in
SWMTKN-*) ;;
*) refuse no-token "the parameter holds no join token" ;;
esac
# Through the API: 'docker swarm join' takes the token on its command line only, where every process here can read it.
# The engine tries only the first of several addresses, so each is given on its own. A join that times out goes on in
# the background: what the engine says then is what counts.
OLD_IFS=$IFS
IFS=,
for MANAGER in $SSM_MANAGERS; do
  IFS=$OLD_IFS
  # The address from which this node reaches that manager: an instance may have several.
  ADDRESS=$(ip -4 route get "${MANAGER%:*}" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
  ANSWER=$(printf '{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"%s","RemoteAddrs":["%s"],"JoinToken":"%s"}' \
    "$ADDRESS" "$MANAGER" "$TOKEN" | engine POST /swarm/join 30) || ANSWER='no answer from the engine'
  report
  # No other manager of the swarm would take it either, and each takes 10 s to say so.
  case $ANSWER in
  *"join token"* | *fingerprint*) refuse token-refused "the swarm does not take the stored token" ;;
  esac
done
refuse join-failed "$(redacted "$ANSWER")"
