# less: searching in a terminal, with an input preprocessor (LESSOPEN)
seq 5 >f; LESSOPEN='|sed s/3/three/ %s' "$typed" 'f (END)' less -d -P'f (END)' -+F -e f <<'LINES' | tr -s '\n' | tail -n 6
q
LINES
less f | wc -l; less missing; echo $?
