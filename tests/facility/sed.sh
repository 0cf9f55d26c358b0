# sed: in place, with backups, writing other files, running commands
seq 10 >n; sed -i.bak -e '2d' -e 's/1/one/w written' -e '3r n.bak' n; wc -l n n.bak written; sed -n '$p;1e echo run' n; sed -s -i '$a end' n written; tail -n 1 n written; sed p missing; echo $?
