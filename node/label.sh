# Labels nodes with the instances behind them. LABELS: NODE;INSTANCE;ZONE;TYPE;LIFECYCLE;GROUP, joined by commas.
DONE=''
FAILED=''
OLD_IFS=$IFS
IFS=,
for ENTRY in $SSM_LABELS; do
  IFS=';'
  # shellcheck disable=SC2086 # split at the semicolons; the pattern leaves no blank, quote or wildcard
  set -- $ENTRY
  IFS=$OLD_IFS
  if OUT=$(docker node update --label-add "swarm-mesh.instance=$2" --label-add "swarm-mesh.zone=$3" --label-add "swarm-mesh.type=$4" \
    --label-add "swarm-mesh.lifecycle=$5" --label-add "swarm-mesh.group=${6:-}" "$1" 2>&1); then
    DONE="$DONE${DONE:+,}\"$1\""
  else
    FAILED="$FAILED${FAILED:+,}$(text "$OUT")"
  fi
  IFS=,
done
[ -z "$FAILED" ] || refuse label-failed "$FAILED"
printf '{"ok":true,"nodes":[%s]}\n' "$DONE"
