//! Linker settings of `libpyshm.so`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // std names the unwinder; taking it from the static archive keeps libgcc_s.so.1 out of NEEDED, where the
    // system's copy would be loaded first and shadow a newer one that an extension brings along.
    println!("cargo:rustc-link-lib=static=gcc_eh");
    for arg in ["-Wl,-z,now", "-Wl,-z,relro", "-Wl,--as-needed", "-Wl,-soname,libpyshm.so"] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
