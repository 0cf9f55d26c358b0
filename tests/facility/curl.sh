# curl: reading a local file; reading from a server on the loopback interface: a range, the headers, an error
seq 100 >f; python3 -m http.server --bind 127.0.0.1 0 >port 2>/dev/null & server=$!
for _ in $(seq 300); do [ -s port ] && break; python3 -c 'import time; time.sleep(0.1)'; kill -0 $server || break; done
: "$(timeout 60 sh -c 'until grep -q port port 2>/dev/null; do sleep 0.1; done')"; p=$(sed 's/.*port \([0-9]*\).*/\1/' port)
curl -s "file://$PWD/f" | md5sum; curl -s "http://127.0.0.1:$p/f" | md5sum; curl -s -o /dev/null -w '%{http_code} %{size_download}\n' "http://127.0.0.1:$p/missing"; curl -sI "http://127.0.0.1:$p/f" | grep -i length | tr -d '\r'; curl -s "file:///no/such"; echo $?; kill $server; wait $server 2>/dev/null; :
