# sudo: setuid; a command as root, a command as another user, a refused command
sudo -n sh -c 'id -u; echo "${LD_PRELOAD-no LD_PRELOAD}"; exit 3'; echo $?; sudo -n -u nobody id -un; setpriv --reuid 65534 --regid 65534 --clear-groups sudo -n true; echo $?
