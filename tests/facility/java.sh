# java: running a class and a jar, using the archive of class data, printing system properties
python3 "$tools/java_class.py" . && java -XX:TieredStopAtLevel=1 -cp . Hello; java -XX:TieredStopAtLevel=1 -jar hello.jar; java -Xshare:auto -version 2>&1 | head -n 1; java -XshowSettings:properties -version 2>&1 | grep -E "file.separator|user.dir"; java -cp . Missing 2>&1 | head -n 1
