#!/bin/sh
# An image of a report in headless Chromium (apt-get install chromium), as in docs/images:
#   recipes/eval/screenshot.sh results/bench/report.html docs/images/report.png [WIDTH HEIGHT [dark]]
set -eu
[ $# -ge 2 ] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
[ -f "$1" ] || { echo "screenshot: no file $1" >&2; exit 2; }
page=$(realpath "$1") image=$(realpath -m "$2") width=${3:-1280} height=${4:-1600}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "screenshot: no chromium; apt-get install chromium" >&2; exit 2; }
dark=""
[ "${5:-light}" = dark ] && dark="--blink-settings=preferredColorScheme=0"
# No network is asked for: the page needs none.
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-background-networking \
  --force-device-scale-factor=1 --window-size="$width,$height" $dark \
  --screenshot="$image" "file://$page" 2> /dev/null
