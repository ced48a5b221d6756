# Has this node tell the controller when services of the swarm change: a small systemd unit. STATE=off takes it away.
NAME=swarm-mesh-watch.service
# Empty but where tests put a directory of their own.
LIB="${SWARM_MESH_ROOT-}/usr/local/lib/swarm-mesh"
UNIT="${SWARM_MESH_ROOT-}/etc/systemd/system/$NAME"

# They become part of a file that systemd reads: a line break or a percent sign would mean something there.
case "$SSM_SOURCE$SSM_REGION" in '' | *[!a-z0-9.-]*) refuse bad-value "SOURCE and REGION: lower-case letters, digits, dots, hyphens" ;; esac
[ -d "${SWARM_MESH_ROOT-}/run/systemd/system" ] || refuse no-systemd "this instance is not run by systemd"

if [ "$SSM_STATE" = off ]; then
  if [ ! -e "$UNIT" ] && [ ! -e "$LIB/watch" ]; then
    printf '{"ok":true,"changed":false}\n'
    exit 0
  fi
  if [ -e "$UNIT" ]; then OUT=$(systemctl disable --now "$NAME" 2>&1) || refuse watch-failed "$OUT"; fi
  rm -f "$UNIT" "$LIB/watch" "$LIB/started"
  OUT=$(systemctl daemon-reload 2>&1) || refuse watch-failed "$OUT"
  printf '{"ok":true,"changed":true}\n'
  exit 0
fi

needs_aws
WATCH=$(
  cat <<'END'
#!/bin/sh
# Written by swarm-mesh. Arguments: SOURCE REGION. Ends when the engine does: systemd starts it again.
set -u
LC_ALL=C
export LC_ALL
OPEN='{''{'
CLOSE='}''}'
TOLD=0
docker events --filter type=service --format "$OPEN.Time$CLOSE" | while read -r TIME; do
  # What happened before we told last was told then: a stack's services come all at once.
  [ "$TIME" -ge "$TOLD" ] || continue
  sleep 2
  # Every manager hears of it; one of them tells. A worker fails here, and has nothing to tell.
  LEADS=$(docker node inspect self --format "${OPEN}with .ManagerStatus$CLOSE$OPEN.Leader$CLOSE${OPEN}end$CLOSE" 2>/dev/null) || continue
  [ "$LEADS" = true ] || continue
  NOW=$(date +%s)
  ENTRY=$(printf '[{"Source":"%s","DetailType":"Swarm Service Event","Detail":"{}"}]' "$1")
  if FAILED=$(aws events put-events --region "$2" --entries "$ENTRY" --query FailedEntryCount --output text \
    --cli-connect-timeout 5 --cli-read-timeout 10) && [ "$FAILED" = 0 ]; then
    TOLD=$NOW
  else
    echo "EventBridge did not take the event; the controller's schedule follows within a minute. May this instance's role do events:PutEvents (ManagerPolicy)?" >&2
  fi
done
END
)
SERVICE="[Unit]
Description=Tells swarm-mesh when services of the swarm change
After=docker.service

[Service]
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
ExecStart=/bin/sh /usr/local/lib/swarm-mesh/watch $SSM_SOURCE $SSM_REGION
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target"

# Written last: an act that was cut off half-way has not started what it wrote.
SUM=$(printf '%s\n%s\n' "$WATCH" "$SERVICE" | cksum)
if [ "$(cat "$LIB/started" 2>/dev/null)" = "$SUM" ] && [ -e "$UNIT" ] && [ -e "$LIB/watch" ] &&
  systemctl is-active --quiet "$NAME" && systemctl is-enabled --quiet "$NAME"; then
  printf '{"ok":true,"changed":false}\n'
  exit 0
fi

# Replaced as a whole: the shell that runs the old one reads on in the old file.
write() { OUT=$({ mkdir -p "${1%/*}" && printf '%s\n' "$2" >"$1.new" && chmod 644 "$1.new" && mv "$1.new" "$1"; } 2>&1) || refuse watch-failed "$OUT"; }
write "$LIB/watch" "$WATCH"
write "$UNIT" "$SERVICE"
OUT=$({ systemctl daemon-reload && systemctl enable "$NAME" && systemctl restart "$NAME"; } 2>&1) || refuse watch-failed "$OUT"
write "$LIB/started" "$SUM"
printf '{"ok":true,"changed":true}\n'
