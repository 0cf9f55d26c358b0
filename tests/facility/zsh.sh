# zsh: interactive in a terminal: start-up file, globs, arrays, functions, job control
mkdir z; printf 'PS1="ready> "\nunsetopt zle prompt_cr prompt_sp\ngreet() { echo hello $1 }\n' >z/.zshrc; touch a1 a2 b1
ZDOTDIR=$PWD/z "$typed" 'ready> ' zsh -i <<'LINES' | sed 's/^\(\[[0-9]\]\) [0-9]*$/\1 NUMBER/'; echo "status ${PIPESTATUS[0]}"
greet you; print -l a*(.) ; echo ${(j:,:)${(s: :)"x y z"}}
setopt extendedglob; echo ^a*; sleep 60 & kill %1; wait %1; echo $?
zmodload zsh/stat && stat +size a1; autoload -U compinit zmv; whence -w compinit
cat =(echo temporary); print -P '%~' | grep -c /; no-such-command
exit 4
LINES
