#!/usr/bin/env bash
# run.sh BINARY OUT: runs the flights pipeline from nothing to its end, shows what came out and says where it lies.
set -euo pipefail
thalweg=${1:?usage: run.sh BINARY OUT} out=${2:?usage: run.sh BINARY OUT}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
state=$out/flights-state
pipeline=examples/flights/pipeline.sql
if [[ $out != out ]]; then
  mkdir -p "$out"
  sed "s#'out/#'$out/#" "$pipeline" > "$out/pipeline.sql"
  pipeline=$out/pipeline.sql
fi
"$thalweg" run "$pipeline" --data-dir "$state" --restart
echo
echo "The ten worst days of an airport with at least 20 flights:"
"$thalweg" sql -c "SELECT origin, substr(CAST(window_start AS TEXT), 1, 10) AS day, flights, round(average_delay, 1) AS average_delay
  FROM '$out/daily_delays/*.ndjson' WHERE flights >= 20 ORDER BY average_delay DESC LIMIT 10"
echo
echo "The longest waits:"
"$thalweg" sql -c "SELECT departed_at, origin, destination, delay_minutes
  FROM '$out/long_waits/*.ndjson' ORDER BY delay_minutes DESC, departed_at LIMIT 5"
echo
echo "All rows lie in $(cd "$out" && pwd)/daily_delays and $(cd "$out" && pwd)/long_waits"
