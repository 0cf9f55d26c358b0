"""java_class.py DIRECTORY: makes Hello.class, a program that prints one line, and hello.jar with this class. A Java
runtime without a compiler can then run the program.
"""
import struct, sys, zipfile
def utf(text): return b"\1" + struct.pack(">H", len(text)) + text.encode()
pool = [utf("Hello"), b"\7\0\1", utf("java/lang/Object"), b"\7\0\3", utf("main"), utf("([Ljava/lang/String;)V"), utf("Code"),
        utf("java/lang/System"), b"\7\0\10", utf("out"), utf("Ljava/io/PrintStream;"), b"\14\0\12\0\13", b"\11\0\11\0\14",
        utf("java/io/PrintStream"), b"\7\0\16", utf("println"), utf("(Ljava/lang/String;)V"), b"\14\0\20\0\21", b"\12\0\17\0\22",
        utf("hello from a jar"), b"\10\0\24"]
code = b"\262\0\15\22\25\266\0\23\261"          # getstatic out; ldc; invokevirtual println; return
body = struct.pack(">HHI", 2, 1, len(code)) + code + b"\0\0\0\0"
method = struct.pack(">HHHH", 9, 5, 6, 1) + struct.pack(">HI", 7, len(body)) + body
data = struct.pack(">IHHH", 0xCAFEBABE, 0, 50, len(pool) + 1) + b"".join(pool) + struct.pack(">HHHHHH", 33, 2, 4, 0, 0, 1) + method + b"\0\0"
open(sys.argv[1] + "/Hello.class", "wb").write(data)
with zipfile.ZipFile(sys.argv[1] + "/hello.jar", "w") as jar:
    jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nMain-Class: Hello\n\n")
    jar.writestr("Hello.class", data)
