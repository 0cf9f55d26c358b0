<<<<<<< HEAD
# openssl: keys, certificates, digests, encryption, openssl's own configuration and engines
=======
# openssl: keys, certificates, digests, encryption, the configuration file and engines
>>>>>>> main
openssl genrsa -out k 2048 2>/dev/null; openssl req -new -x509 -key k -subj /CN=x -days 1 -out c; openssl x509 -in c -noout -subject; openssl verify -CAfile c c; seq 10 >f; openssl dgst -sha256 f; openssl enc -aes-256-cbc -pbkdf2 -pass pass:x -in f | openssl enc -d -aes-256-cbc -pbkdf2 -pass pass:x | md5sum; openssl version -d; openssl dgst missing 2>&1 | sed 's/^[0-9A-F]*:/THREAD:/'
