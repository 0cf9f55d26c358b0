# vim: batch (-es): substitution, a filter, a script, undo, a swap file, writing
seq 20 >text; printf '%%s/1/one/g\n2d\n%%!sort -r\nu\n1r !echo inserted\nlet &l:ff="unix"\nw! out\nq!\n' >commands
vim -u NONE -i NONE -es text <commands; echo "status $?"; cat out; vim -u NONE -i NONE -es -c 'call writefile([string(glob("*")), getcwd()[-3:], system("echo from a shell")], "said")' -c q; cat said
