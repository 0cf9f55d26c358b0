# ssh, sshd, scp, sftp, with a server on the loopback interface: a command, a terminal, copies to the server and from it
port=$((20000 + $$ % 10000)); umask 077; mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key; cp key.pub authorized
printf 'HostKey %s/host\nAuthorizedKeysFile %s/authorized\nPidFile none\nStrictModes no\nUsePAM no\nSubsystem sftp internal-sftp\n' "$PWD" "$PWD" >sshd_config
/usr/sbin/sshd -D -e -f sshd_config -p "$port" -o ListenAddress=127.0.0.1 2>log & server=$!
o=(-F none -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes)
for _ in $(seq 300); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
echo input | ssh "${o[@]}" -p "$port" root@127.0.0.1 'cat; echo $0; tty; exit 5'; echo "status $?"
ssh "${o[@]}" -tt -p "$port" root@127.0.0.1 'test -t 0 && echo a terminal' </dev/null | tr -d '\r'
seq 1000 >sent; scp -q "${o[@]}" -P "$port" sent "root@127.0.0.1:$PWD/copied"; cmp sent copied && echo copied
echo "get $PWD/copied $PWD/back" | sftp -q -b - "${o[@]}" -P "$port" root@127.0.0.1 >/dev/null; cmp sent back && echo back
kill "$server"; wait "$server" 2>/dev/null; :
