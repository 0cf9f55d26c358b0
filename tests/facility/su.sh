# su, setpriv, passwd: starting the shell of another user; a call of su that is refused
su -s /bin/sh nobody -c 'id -un; exit 3'; echo $?; su -s /bin/bash - nobody -c 'cd /; pwd; echo $0' 2>&1 | grep -v directory; setpriv --reuid 65534 --regid 65534 --clear-groups su -c true </dev/null; echo $?; setpriv --reuid 65534 --regid 65534 --clear-groups passwd -S 2>&1 | awk '{ print $1 }'
