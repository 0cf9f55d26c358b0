# node: modules, promises of files, child processes, workers, streams
echo 'exports.x = __filename.split("/").pop()' >m.js
node -e 'const fs = require("fs"), cp = require("child_process"), { Worker } = require("worker_threads");
console.log(require("./m").x, cp.execSync("echo sync").toString(), cp.spawnSync("sh", ["-c", "exit 3"]).status, fs.readdirSync("."));
fs.promises.writeFile("w", "text").then(() => fs.promises.stat("w")).then(s => { console.log(s.size);
fs.createReadStream("w").on("data", d => { console.log(d.toString()); new Worker("require(\"worker_threads\").parentPort.postMessage(1 + 1)", { eval: true }).on("message", m => { console.log(m); cp.exec("cat w; exit 4", (e, out) => console.log(e.code, out)); }) }) })'; echo $?
