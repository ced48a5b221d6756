# shellcheck shell=sh
# What every act begins with. POSIX sh only: Run Command starts scripts with sh, which is dash on Debian and Ubuntu.
# No globbing (-f): a value that is split into words stays the words that it is.
set -euf
umask 077
LC_ALL=C
export LC_ALL

# Go templates are written with <...>: two opening braces in a document would be read by Run Command as a parameter.
OPEN='{''{'
CLOSE='}''}'
template() { printf '%s' "$1" | sed "s/</$OPEN/g; s/>/$CLOSE/g"; }

# One JSON string. Control characters become spaces, so that the result stays one line.
text() { printf '"%s"' "$(printf '%s' "$1" | tr '\000-\037' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# A refusal that the controller understands: a code of ours, and the engine's own words.
refuse() {
  printf '{"ok":false,"error":%s,"detail":%s}\n' "$(text "$1")" "$(text "${2:-}")"
  exit 1
}

command -v docker >/dev/null 2>&1 || refuse no-docker "there is no docker command on this instance"
command -v curl >/dev/null 2>&1 || refuse no-curl "there is no curl command on this instance"

SOCKET="${DOCKER_HOST:-unix:///var/run/docker.sock}"
SOCKET="${SOCKET#unix://}"

# The engine's API, for what the docker command would want on its command line: METHOD PATH [MAX_SECONDS], body on stdin.
# Prints the body, then the status code on a line of its own.
# shellcheck disable=SC2317 # not every act asks
engine() {
  curl -sS --max-time "${3:-30}" --unix-socket "$SOCKET" -X "$1" -H 'Content-Type: application/json' \
    --data-binary @- -w '\n%{http_code}' "http://localhost$2"
}

# shellcheck disable=SC2317 # not every act asks
info() { docker info --format "$(template "$1")"; }

# What a command said, without any join token that it named.
# shellcheck disable=SC2317 # not every act asks
redacted() { printf '%s' "$1" | sed 's/SWMTKN[-0-9a-z]*/(token)/g'; }

# shellcheck disable=SC2317 # not every act asks
needs_aws() { command -v aws >/dev/null 2>&1 || refuse no-aws "there is no aws command on this instance"; }

# Stores a worker token in Parameter Store from here: it passes through no log, no event and no command line.
# shellcheck disable=SC2317 # not every act asks
store() {
  # A file that only root reads, in memory where there is a /run: the aws command reads its input twice, so not from stdin.
  FILE=$(mktemp -p /run 2>/dev/null || mktemp)
  trap 'rm -f "$FILE"' EXIT
  printf '{"Name":"%s","Type":"SecureString","KeyId":"%s","Overwrite":true,"Value":"%s"}' "$SSM_TOKEN" "$SSM_KEY" "$1" >"$FILE"
  OUT=$(aws ssm put-parameter --region "$SSM_REGION" --cli-input-json "file://$FILE" 2>&1 >/dev/null) ||
    refuse token-not-stored "$(redacted "$OUT")"
}

docker version >/dev/null 2>&1 || refuse engine-down "the docker engine does not answer"
