# bash: interactive in a terminal: start-up file, history, completion, job control, pipes, here documents, coprocess
printf 'PS1="ready> "\nalias greet="echo hello from an alias"\n' >rc; mkdir sub; : >sub/file
"$typed" 'ready> ' bash --rcfile rc -i <<'LINES' | sed 's/^\(\[[0-9]\]\) [0-9]*$/\1 NUMBER/'; echo "status ${PIPESTATUS[0]}"
greet; echo $((6 * 7)) $- | tr a-z A-Z
cd sub; ls; cd - >/dev/null; echo *; type -t greet
sleep 60 & kill %1; wait %1; echo "waited $?"
cat <<< "here" | { read x; echo "read $x"; }; diff <(echo a) <(echo b)
(coproc cat; echo through >&${COPROC[1]}; read -u ${COPROC[0]} y; echo $y; kill $COPROC_PID; wait)
history | wc -l; set -o | grep -c on; compgen -f s
trap 'echo leaving' EXIT; (exit 3); echo $?; no-such-command
exit 7
LINES
