//! Cases that run real programs: coreutils, Python's library, make.

use crate::tree;
use crate::world::{Case, Ops};

#[test]
fn coreutils_read_without_an_operation() {
    Case::sh(
        "cd /; ls -laR --time-style=+%s.%N $E; find $E -ls | awk '{print $3, $4, $5, $11, $12, $13}' | sort; \
         stat -c '%n %a %u %g %s %Y %F %N' $E/* $E/d/*; cat $E/a $E/d/b; du -a --apparent-size $E/lib; \
         readlink -f $E/lib64/os.py; head -c 3 $E/abs-to-b; cmp $E/a $E/same-as-a; tar c -C $E . | tar t | sort; \
         test -x $E/bin/tool && grep -rn tool $E/bin; sort $E/full/1 $E/full/2; md5sum < $E/a; cp -r $E/full $M/out/",
    )
    .run();
}

#[test]
fn coreutils_write_as_without_the_shim() {
    Case::sh(
        "cd $E; cp -a d copy; mv full/1 full/one; rm -r d; ln -s a new-link; ln a new-hard; chmod 600 a; touch -d @5 a; \
         sed -i s/hello/bye/ same-as-a; mkdir -p x/y/z; rmdir x/y/z; mv copy x/y; echo y > x/y/b; truncate -s 1 lib/os.py; \
         install -m 751 bin/tool bin/other; mv bin lib; sort -o full/2 full/2 full/3; cp --remove-destination full/2 full/3; \
         cd /; ls -lR $E | awk '{print $1, $2, $3, $5, $9, $10, $11}' | grep . | sort; cat $E/x/y/b $E/a $E/full/* 2>&1; \
         find $E -newermt '2010-01-01' | sort; rm -rf $E/*; ls -A $E",
    )
    .ops(Ops::Any)
    .run();
}

#[test]
fn python_s_own_file_functions_read_without_an_operation() {
    Case::python("python", "reads").run();
}

#[test]
fn python_s_own_file_functions_write_as_without_the_shim() {
    Case::python("python", "writes").ops(Ops::AtMost(400)).run();
}

#[test]
fn make_rebuilds_exactly_the_outdated_targets() {
    Case::sh(
        "cd $E; make -s; make -s; touch -d @1100000000 a; make -s; rm made; make -s; cat made",
    )
    .tree(|t| {
        tree::standard(t);
        t.file(
            "Makefile",
            "made: a d/b\n\tcat $^ > $@\n\techo making\n\ttouch -d @1050000000 $@\n",
        );
    })
    .says("making")
    .ops(Ops::Any)
    .run();
}
