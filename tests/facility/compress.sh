# gzip, xz, zstd, and zip from Python: compressing, with threads, in place
seq 50000 >n; touch -d 2020-01-01 n; for c in gzip xz 'zstd -q --rm -T2'; do $c n; ls; md5sum n.*; for d in n.*; do case $d in *.gz) gunzip n.gz ;; *.xz) unxz n.xz ;; *.zst) zstd -q -d --rm n.zst ;; esac; done; done; md5sum n; gzip -t missing; echo $?
