# lua: files, pipes, modules, errors
echo 'return { x = 42 }' >m.lua; lua5.4 -e 'print(require("m").x) local f = io.open("f", "w") f:write("text\n") f:close() for l in io.lines("f") do print(l) end print(io.popen("echo piped"):read("a")) print(os.execute("exit 3")) print(io.open("missing")) os.rename("f", "g") os.remove("g") print(pcall(require, "no_such") == false) os.exit(5)'; echo $?
