#!/usr/bin/awk -f
# failed.awk LOG: what failed in the output of cargo test --no-fail-fast, one line each: the arguments that name the
# target, joined by commas, and the test. Nothing where the names are not all there, since a target crashed.
/^failures:$/ { count = 0; listed = 1; next }
listed && /^    / { sub(/^ +/, ""); names[++count] = $0; next }
listed && (count || !/^$/) { listed = 0 }
/^test result: FAILED/ { counted = match($0, /[0-9]+ failed/) && substr($0, RSTART) + 0 == count }
/^error: (doc)?test failed, to rerun pass `/ {
  if (!count || !counted) { crashed = 1; exit }
  target = $0
  sub(/^[^`]*`/, "", target)
  sub(/`.*/, "", target)
  gsub(/ /, ",", target)
  for (i = 1; i <= count; i++) lines = lines target " " names[i] "\n"
  count = counted = 0
}
END { if (!crashed) printf "%s", lines }
