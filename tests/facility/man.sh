# man: formatting a page with groff, which starts many processes; finding a page by its name
mkdir -p m/man1; printf '.TH HELLO 1\n.SH NAME\nhello \\- says hello\n.SH OPTIONS\n.TP\n.B \\-x\nDoes \\fInothing\\fP.\n' >m/man1/hello.1; man -M "$PWD/m" -P cat hello | col -b | grep -v '^$' ; man -M "$PWD/m" -w hello | sed "s|$PWD||"; man -M "$PWD/m" no-such; echo $?
