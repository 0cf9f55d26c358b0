# tmux: a server, a session, sending keys, reading the screen
export TMUX_TMPDIR=$PWD; tmux -f /dev/null new-session -d -x 80 -y 10 "sh -c 'echo in tmux; tmux wait-for -S asks; read x; echo got \$x; echo \$TERM >term; tmux wait-for -S done; exec sleep 60'"
tmux wait-for asks; tmux send-keys typed Enter; tmux wait-for done; tmux capture-pane -p | grep .; cat term; tmux list-sessions -F '#{session_windows}'; tmux kill-server; echo $?
