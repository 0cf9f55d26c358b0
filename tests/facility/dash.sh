# dash: a script: traps, subshells, redirections, here documents, arithmetic
dash -c 'trap "echo bye" EXIT; (cd / && pwd); x=$(echo $((7 * 6))); echo $x >f; read y <f; echo "$y"; cat <<X
here $y
X
[ -r f ] && . ./f 2>&1; command -v cat; umask; exec 3<f; cat <&3; (kill -TERM $$) ; sleep 60'
